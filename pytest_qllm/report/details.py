"""What stands below the matrix: the worst verdicts first, and figures beside them, each list cut where it gets long."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from pytest_qllm.report.family import PooledRow
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS, Line, badness, line, mark_of, printable, stripped, wrapped

WORST = 10
"""Verdicts in the list of the worst; each is a failed test with a message of its own above."""
FIGURES = 6
"""Lines of each other kind."""

_LISTED = ("worse", "FAIL", "mended", "INCONCLUSIVE")


def worst(records: Sequence[Record], width: int, where: str) -> Iterator[Line]:
    """The verdicts that need somebody, the worst first: by their kind, then by the loss in units of the tolerance."""
    bad = [record for record in records if record.standing in _LISTED or record.has_slid]
    bad.sort(key=lambda record: (record.benchmark, record.regime))
    bad.sort(key=_place, reverse=True)
    if not bad:
        return
    yield line("")
    heading, meaning = "worst first", " (effect [its limits], what was allowed)"
    yield ((heading, {"bold": True}), (meaning if len(heading + meaning) <= width else "", {}))
    shown = bad[:WORST]
    widths = [max(len(text) for text in column) for column in zip(*map(_columns, shown), strict=True)]
    for record in shown:
        mark = mark_of(record)
        assert mark is not None
        texts = [text.ljust(size) for text, size in zip(_columns(record), widths, strict=True)]
        figures = _figures(record)
        fits = sum(widths) + 2 * len(widths) + len(figures) <= width
        markup = MARKS["FAIL"].markup if record.has_slid else mark.markup
        yield stripped([(texts[0], markup), ("  ", {}), ("  ".join([*texts[1:], *([figures] if fits else [])]), {})])
        if not fits:
            yield from (line(f"    {part}") for part in textwrap.wrap(figures, width - 4, break_long_words=False))
    yield from _more(len(bad) - len(shown), where)


def kernels(found: Sequence[KernelRecord], regimes: Sequence[str], width: int, where: str) -> Iterator[Line]:
    """A line for each kernel; those that disagree first."""
    ordered = sorted(found, key=lambda kernel: (kernel.agrees, regimes.index(kernel.regime)))
    wrong = sum(not kernel.agrees for kernel in ordered)
    shown = ordered[: max(FIGURES, wrong)]
    if shown:
        yield line("")
    for kernel in shown:
        markup = MARKS["PASS" if kernel.agrees else "FAIL"].markup
        yield from wrapped(kernel.line(), width, **markup)
    yield from _more(len(ordered) - len(shown), where)


def pools(rows: Sequence[PooledRow], width: int, where: str) -> Iterator[Line]:
    """Dimensions pooled, the largest mean loss first."""
    for row in sorted(rows, key=lambda row: row.effect)[:FIGURES]:
        yield from wrapped(row.line(), width)
    yield from _more(len(rows) - FIGURES, where)


def beside(records: Sequence[Record], width: int, where: str) -> Iterator[Line]:
    """Accuracies beside graded scores, answers that reached their limit, and fidelities, each the worst first."""
    graded = sorted(
        ((record, record.beside) for record in records if record.beside is not None),
        key=lambda pair: (pair[1]["effect"], pair[0].benchmark, pair[0].regime),
    )
    for record, _ in graded[:FIGURES]:
        text = f"beside {record.metric} of {record.regime} on {record.benchmark}: {record.beside_line()}"
        yield from wrapped(text, width)
    yield from _more(len(graded) - FIGURES, where)
    cut_off = [record for record in records if record.outcome is not None and record.limit_line()]
    for record in sorted(cut_off, key=_rambling)[:FIGURES]:
        yield from wrapped(f"{record.benchmark} on {record.regime}: {record.limit_line()}", width)
    yield from _more(len(cut_off) - FIGURES, where)
    texts = sorted(
        ((record, record.fidelity) for record in records if record.fidelity is not None),
        key=lambda pair: (-pair[1]["kl_mean"], pair[0].benchmark, pair[0].regime),
    )
    for record, _ in texts[:FIGURES]:
        text = f"fidelity of {record.regime} on {record.benchmark}: {record.fidelity_line()}"
        yield from wrapped(text, width)
    yield from _more(len(texts) - FIGURES, where)


def _rambling(record: Record) -> tuple[float, str, str]:
    """Those that ramble more than the baseline come first."""
    counts = record.hit_limit or {}
    more = (counts.get("candidate") or 0) - counts.get("baseline", 0)
    return -more / record.n, record.benchmark, record.regime


def failures(errors: Sequence[Mapping[str, str]], where: str) -> Iterator[Line]:
    """Tests that ended without a verdict. Left in one line each: they have paths and commands that are copied."""
    for error in errors[:WORST]:
        yield line(f"ERROR {error['test']}: {printable(error['message'])}", red=True)
    yield from _more(len(errors) - WORST, where)


def cut(lines: Sequence[Line], where: str) -> Iterator[Line]:
    """The first few of many lines."""
    yield from lines[:WORST]
    yield from _more(len(lines) - WORST, where)


def _more(count: int, where: str) -> Iterator[Line]:
    if count > 0:
        yield line(f"... and {count} more in {where}")


def _place(record: Record) -> tuple[int, float]:
    """A regime that slid since the previous release fails, whatever it is against the baseline."""
    kind, loss = badness(record)
    return (len(MARKS) - list(MARKS).index("FAIL"), loss) if record.has_slid else (kind, loss)


def _columns(record: Record) -> list[str]:
    mark = mark_of(record)
    word = "" if mark is None else mark.word
    return ["slid" if record.has_slid and word != "FAIL" else word, record.regime, record.benchmark]


def _figures(record: Record) -> str:
    """Effect, its limits and what was allowed; the reason where nothing was compared."""
    if record.effect is None or record.ci is None or record.tolerance is None:
        return printable(record.reason)
    low, high = map(record.change, record.ci)
    allowed = record.change(record.tolerance if record.is_ratio else -record.tolerance)
    return f"{record.change(record.effect)} [{low}, {high}], allowed {allowed}"
