"""qllm.md: a report for a pull request, under 64 KiB at any size of run, the most important first.

Each section gets what the ones above it left of the room; what did not fit is named in words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from pytest_qllm.report import costs, dimensions, trend
from pytest_qllm.report.answer import (
    INTERRUPTED,
    Answer,
    Ships,
    answers,
    failures,
    severity,
    worst_first,
)
from pytest_qllm.report.family import lines
from pytest_qllm.report.gfm import block, clip, code, folded, row, table, tight
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report

LIMIT = 64 * 1024 - 1
"""Bytes of the whole; GitHub cuts a comment off at 65,536."""

_HEAD = LIMIT // 6
"""Bytes that the answers of the regimes may take."""
_FAILURES = LIMIT * 5 // 12
"""Bytes that failures may take, so that the matrix has room."""
_FOOT = 4096
"""Bytes that are kept for the last lines."""

_REASONED = ("INCONCLUSIVE", "NO_SIGNAL")
_COLUMNS = ("regime", "benchmark", "effect", "between", "tolerance", "items")

Column = tuple[str, str]
"""Benchmark and metric."""


def render(report: Report, limit: int = LIMIT) -> str:
    """The report as GitHub-flavoured Markdown of at most ``limit`` bytes."""
    page = _Page(limit - _FOOT, clip(report.path.name, 60))
    page.add("\n\n".join(_head(report)))
    _answers(page, report)
    _failures(page, report)
    _matrix(page, report)
    _accepted(page, report)
    _together(page, report)
    _since(page, report)
    _others(page, report)
    return f"{page.text()}\n\n{_foot(report, page)}\n"


class _Page:
    """Sections as far as there is room."""

    def __init__(self, room: int, source: str) -> None:
        self.room = room
        self.source = source
        self.dropped: list[str] = []
        self._parts: list[str] = []

    def add(self, text: str) -> bool:
        """Whether there was room for it."""
        size = _size(text) + 2
        if size > self.room:
            return False
        self.room -= size
        self._parts.append(text)
        return True

    def fill(
        self,
        entries: Iterable[str],
        count: int,
        what: str,
        frame: Callable[[str], str],
        budget: int | None = None,
        separator: str = "\n",
    ) -> None:
        """As many of ``count`` entries as fit into the budget, in their frame; how many are left out is said.

        Entries are written only as long as there is room for them.
        """
        if not count:
            return
        room = min(self.room, self.room if budget is None else budget)
        room -= _size(frame("")) + _size(self._more(count, what)) + 6
        kept: list[str] = []
        for entry in entries:
            room -= _size(entry) + len(separator)
            if room < 0:
                break
            kept.append(entry)
        left = count - len(kept)
        if left:
            self.dropped.append(f"{left} of {count} {what}")
        if kept:
            note = f"\n\n{self._more(left, what)}" if left else ""
            self.add(frame(separator.join(kept)) + note)

    def text(self) -> str:
        return "\n\n".join(self._parts)

    def _more(self, count: int, what: str) -> str:
        return f"_... and {count:,} more {what}, in {code(self.source)}._"


def _head(report: Report) -> Iterator[str]:
    found = answers(report)
    ships = sum(answer.ships == Ships.YES for answer in found)
    models = [*(record.model for record in report.records), *(kernel.model for kernel in report.kernels)]
    of = f" of {code(models[0])}" if models else ""
    regimes = "regime" if len(found) == 1 else "regimes"
    yield f"## Quantization{of}: {ships} of {len(found)} {regimes} may ship"
    if report.exitstatus in INTERRUPTED:
        yield "**The session was interrupted: not every test has run.**"
    counts = Counter(record.standing for record in report.verdicts)
    words = [f"{count} {outcome}" for outcome, count in sorted(counts.items(), key=lambda item: str(item[0]))]
    wrong = sum(not kernel.agrees for kernel in report.kernels)
    words += [f"{wrong} of {len(report.kernels)} kernels disagree"] if wrong else []
    words += [f"{len(report.errors)} without a verdict"] if report.errors else []
    if words:
        yield f"**{', '.join(words)}**"


def _answers(page: _Page, report: Report) -> None:
    """Which regimes may ship; those that may not come first."""
    order = (Ships.NO, Ships.UNDECIDED, Ships.YES)
    found = sorted(answers(report), key=lambda answer: order.index(answer.ships))
    rows = (row([code(one.regime), _ships(one), f"{one.why}{_worst(one)}"]) for one in found)
    page.fill(rows, len(found), "regimes", _framed(("regime", "may ship", "why")), _HEAD)


def _ships(answer: Answer) -> str:
    return str(answer.ships) if answer.ships == Ships.YES else f"**{answer.ships}**"


def _worst(answer: Answer) -> str:
    if not answer.against:
        return ""
    first = answer.against[0]
    figures = f" {first.change(first.effect)}" if first.effect is not None else ""
    return f": {code(first.benchmark)}{figures}" + (", ..." if len(answer.against) > 1 else "")


def _failures(page: _Page, report: Report) -> None:
    """Evidence and command of what fails: tests without a verdict and kernels first, then the worst losses."""
    lost = failures(report)
    wrong = [kernel for kernel in report.kernels if not kernel.agrees]
    entries = chain(
        (block(f"ERROR: {error.test}\n  {error.message}") for error in report.errors),
        (block(kernel.message(kernel.rerun)) for kernel in wrong),
        (block(record.message(record.rerun)) for record in lost),
    )
    count = len(report.errors) + len(wrong) + len(lost)
    page.fill(entries, count, "failures", lambda body: f"### Failures\n\n{body}", _FAILURES, "\n\n")


def _matrix(page: _Page, report: Report) -> None:
    """Regimes as rows and benchmarks as columns, by dimension: with effects, or letters alone, or not at all."""
    cells = _cells(report.records)
    if not cells:
        return
    full = _tables(report, cells, _cell, row)
    expenses = " or costs (below 1 is a saving)" if any(record.is_cost for record in cells.values()) else ""
    if page.add(f"### Verdicts\n\n{full}\n\nEffects in points, or as a ratio of perplexities{expenses}."):
        return
    legend = ", ".join(f"{mark.letter} {_word(mark.name)}" for mark in MARKS.values())
    short = _tables(report, cells, _letter, tight)
    if page.add(f"### Verdicts\n\n{short}\n\n{legend}"):
        page.dropped.append("the effects in the matrix")
        return
    page.dropped.append("the matrix of verdicts")


def _cells(records: Sequence[Record]) -> dict[tuple[str, Column], Record]:
    """Two tests may ask the same of a regime: the worse verdict is shown."""
    cells: dict[tuple[str, Column], Record] = {}
    for record in records:
        place = (record.regime, (record.benchmark, record.metric))
        if place not in cells or severity(record) > severity(cells[place]):
            cells[place] = record
    return cells


def _tables(
    report: Report,
    cells: Mapping[tuple[str, Column], Record],
    cell: Callable[[Record], str],
    line: Callable[[Sequence[str]], str],
) -> str:
    parts = []
    for dimension in sorted({record.dimension for record in cells.values()}, key=dimensions.order):
        columns = sorted({place[1] for place, record in cells.items() if record.dimension == dimension})
        rows = [name for name in report.regimes if any((name, column) in cells for column in columns)]
        names = Counter(benchmark for benchmark, _ in columns)
        header = [code(name) if names[name] == 1 else f"{code(name)} {code(metric)}" for name, metric in columns]
        body = [
            line([code(name), *(cell(cells[name, one]) if (name, one) in cells else "" for one in columns)])
            for name in rows
        ]
        parts.append("\n".join([line([code(dimension), *header]), line(["---"] * (len(columns) + 1)), *body]))
    return "\n\n".join(parts)


def _cell(record: Record) -> str:
    if record.standing is None:
        return record.score(record.baseline)
    word = _word(record.standing)
    if record.is_cost:
        text = costs.cell(record, word)
        return text if record.standing in ("PASS", "UNGATED") and not costs.is_worse(record) else f"**{text}**"
    word = word if record.standing in ("PASS", "NO_SIGNAL") and not record.has_slid else f"**{word}**"
    slid = " (slid)" if record.has_slid else ""
    return f"{word} {record.change(record.effect)}{slid}" if record.effect is not None else f"{word}{slid}"


def _word(standing: str) -> str:
    return MARKS[standing].word if standing in ("NO_SIGNAL", "UNGATED") else standing


def _letter(record: Record) -> str:
    return "" if record.standing is None else MARKS[record.standing].letter


def _accepted(page: _Page, report: Report) -> None:
    """Losses that are known and accepted: a release meeting reads their reasons."""
    rows = [
        row([code(record.regime), code(record.benchmark), code(record.accepted())])
        for record in worst_first(report.verdicts)
        if record.expected is not None and record.standing == record.expected.outcome
    ]
    page.fill(
        rows,
        len(rows),
        "known losses",
        lambda body: f"### Known losses\n\n{_framed(('regime', 'benchmark', 'what was found'))(body)}",
    )


def _together(page: _Page, report: Report) -> None:
    found = list(
        dict.fromkeys(
            [
                *costs.slower(report.verdicts),
                *lines(report.verdicts, report.alpha),
                *(row.line() for row in report.pooled),
            ]
        )
    )
    found += [kernel.line() for kernel in report.kernels if kernel.agrees]
    page.fill((f"* {code(text)}" for text in found), len(found), "lines", lambda body: f"### Together\n\n{body}")


def _since(page: _Page, report: Report) -> None:
    """What changed since a previous release."""
    found = [(record, record.trend) for record in worst_first(report.records) if record.trend is not None]
    rows = []
    for record, since in found:
        change = since.regime if record.outcome is not None else since.baseline
        what = code(since.reason) if change is None else trend.extent(change, record)
        rows.append(row([code(record.regime), code(record.benchmark), since.verdict or "", what]))
    if found:
        head = _framed(("regime", "benchmark", "since then", "change"))
        title = f"since the previous release: {len(found)} comparisons"
        page.fill(
            rows, len(rows), "comparisons", lambda body: folded(title, f"{code(found[0][1].name)}\n\n{head(body)}")
        )


def _others(page: _Page, report: Report) -> None:
    """What does not fail, folded: passes last, for they are the most."""
    shown = set(map(id, failures(report)))
    for standing in ("INCONCLUSIVE", "UNGATED", "NO_SIGNAL", "PASS"):
        found = [one for one in worst_first(report.verdicts) if one.standing == standing and id(one) not in shown]
        if found:
            word = _word(standing)
            rows = map(_evidence, found)
            frame = _framed((*_COLUMNS, "why") if standing in _REASONED else _COLUMNS)
            title = f"{len(found):,} {word}"
            page.fill(rows, len(found), f"{word} verdicts", lambda body, t=title, f=frame: folded(t, f(body)))  # type: ignore[misc]


def _evidence(record: Record) -> str:
    low, high = map(record.change, record.ci or (None, None))
    cells = [
        code(record.regime),
        code(record.benchmark),
        "" if record.effect is None else record.change(record.effect),
        "" if record.ci is None else f"{low} and {high}",
        "" if record.tolerance is None else record.amount(record.tolerance),
        str(record.n),
    ]
    return row([*cells, code(record.reason)] if record.standing in _REASONED else cells)


def _foot(report: Report, page: _Page) -> str:
    """Where it comes from, and what is not here."""
    settings, versions = report.settings, report.provenance.get("versions", {})
    told = [f"{name} {settings[name]}" for name in ("seed", "dtype", "device") if name in settings]
    if "pytest-qllm" in versions:
        told.insert(0, f"pytest-qllm {versions['pytest-qllm']}")
    made = code(clip(", ".join([str(report.provenance["time"]), *told, f"error {100 * report.alpha:.3g} %"]), 200))
    if not page.dropped:
        return made
    left = ", ".join(page.dropped)
    return f"**Cut to stay under 64 KiB; not shown here: {left}. {code(page.source)} has all of it.**\n\n{made}"


def _framed(header: Sequence[str]) -> Callable[[str], str]:
    """A table around rows that are written already."""
    return lambda body: f"{table(header, ())}\n{body}"


def _size(text: str) -> int:
    return len(text.encode())
