"""The summary at the end of a session: regimes as rows, benchmarks as columns, verdict and effect in each cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_qllm.report import trend
from pytest_qllm.report.family import lines
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.paired import ALPHA

Line = tuple[str, dict[str, bool]]

_MARKUP: dict[str, dict[str, bool]] = {"PASS": {"green": True}, "FAIL": {"red": True}, "INCONCLUSIVE": {"yellow": True}}
_MARKUP |= {"worse": _MARKUP["FAIL"], "mended": _MARKUP["FAIL"]}
_MARKUP |= {"xfail": _MARKUP["INCONCLUSIVE"], "xpass": _MARKUP["INCONCLUSIVE"]}

_SEVERITY = (None, "NO_SIGNAL", "PASS", "xpass", "xfail", "INCONCLUSIVE", "mended", "FAIL", "worse")


def summary(
    records: Sequence[Record],
    errors: Sequence[Mapping[str, str]],
    regimes: Sequence[str],
    width: int,
    kernels: Sequence[KernelRecord] = (),
    alpha: float = ALPHA,
) -> Iterator[Line]:
    """Lines with their markup (and failures claimed together at ``alpha``), as pytest's terminal writer takes them."""
    yield from _tables(records, regimes, width)
    if kernels:
        yield "", {}
    for kernel in sorted(kernels, key=lambda kernel: regimes.index(kernel.regime)):
        yield kernel.line(), {"green": True} if kernel.agrees else {"red": True}
    yield "", {}
    counts = Counter(record.standing for record in records if record.standing is not None)
    if counts:
        yield ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())), {"bold": True}
        share = ", % of the baseline's score" if any(record.is_relative for record in records) else ""
        yield (
            f"effect: points of accuracy{share}, or x the baseline's perplexity; a verdict is on its bounds, not on it",
            {},
        )
        for text in lines(records, alpha):
            yield text, {}
    yield from _since(records, regimes, width)
    for record in sorted(records, key=lambda record: (record.benchmark, record.regime)):
        if record.beside is not None:
            yield f"beside {record.metric} of {record.regime} on {record.benchmark}: {record.beside_line()}", {}
        if record.fidelity is not None:
            yield f"fidelity of {record.regime} on {record.benchmark}: {record.fidelity_line()}", {}
    for error in errors:
        yield f"ERROR {error['test']}: {error['message']}", {"red": True}


def _since(records: Sequence[Record], regimes: Sequence[str], width: int) -> Iterator[Line]:
    """The table of what changed since a previous release, and the drift of its baseline."""
    found = [(record, record.trend) for record in records if record.trend is not None]
    if not found:
        return
    compared = [
        replace(record, outcome=since.verdict, effect=since.regime.effect, expected=None)
        for record, since in found
        if since.regime is not None and since.verdict is not None
    ]
    yield "", {}
    yield f"since {found[0][1].name}, on the items that both have:", {"bold": True}
    yield from _tables(compared, regimes, width)
    if compared:
        yield "", {}
    for record, since in sorted(found, key=lambda one: (one[0].benchmark, one[0].regime)):
        if record.outcome is None and since.baseline is not None:
            yield f"{record.regime} on {record.benchmark}: {trend.extent(since.baseline, record)}", {}
        elif since.regime is None:
            yield f"{record.regime} on {record.benchmark} not compared: {since.reason}", {}


def _tables(records: Sequence[Record], regimes: Sequence[str], width: int) -> Iterator[Line]:
    cells: dict[tuple[str, str], Record] = {}
    for record in records:  # two tests may ask the same of a regime: the worse verdict is shown
        place = (record.regime, record.benchmark)
        if place not in cells or _severity(record) > _severity(cells[place]):
            cells[place] = record
    benchmarks = sorted({record.benchmark for record in records})
    rows = [name for name in regimes if any(record.regime == name for record in records)]
    texts = {place: record.cell() for place, record in cells.items()}
    first = max((len(name) for name in (*rows, "regime")), default=0)
    for columns in _blocks(benchmarks, rows, texts, width - first):
        widths = {name: _column(name, rows, texts) for name in columns}
        yield "", {}
        yield (
            "  ".join(["regime".ljust(first), *(name.ljust(widths[name]) for name in columns)]).rstrip(),
            {"bold": True},
        )
        for row in rows:
            parts = [texts.get((row, name), "-").ljust(widths[name]) for name in columns]
            yield "  ".join([row.ljust(first), *parts]).rstrip(), _row_markup([cells.get((row, n)) for n in columns])


def _blocks(
    benchmarks: Sequence[str], rows: Sequence[str], texts: Mapping[tuple[str, str], str], room: int
) -> Iterator[list[str]]:
    """Columns that fit side by side; the others go into a table below."""
    block: list[str] = []
    used = 0
    for name in benchmarks:
        needed = _column(name, rows, texts) + 2
        if block and used + needed > room:
            yield block
            block, used = [], 0
        block.append(name)
        used += needed
    if block:
        yield block


def _column(name: str, rows: Sequence[str], texts: Mapping[tuple[str, str], str]) -> int:
    return max(len(name), *(len(texts.get((row, name), "-")) for row in rows), 0)


def _severity(record: Record) -> int:
    return _SEVERITY.index(record.standing)


def _row_markup(records: Sequence[Record | None]) -> dict[str, bool]:
    """The colour of the worst verdict in the row."""
    worst = max((record for record in records if record is not None), key=_severity, default=None)
    return {} if worst is None or worst.standing is None else _MARKUP.get(worst.standing, {})
