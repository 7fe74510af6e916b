"""The summary at the end of a session: the matrix, what it says together, the worst first, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pytest_qllm.report import details, trend
from pytest_qllm.report.advice import next_step
from pytest_qllm.report.costs import MEANING, slower
from pytest_qllm.report.family import lines, pooled
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.matrix import matrix
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS, Line, Span, line, wrapped
from pytest_qllm.verdict.paired import ALPHA

EFFECT = "effect: points of accuracy{}, or x the baseline's perplexity; a verdict is on its bounds, not on it"


def summary(
    records: Sequence[Record],
    errors: Sequence[Mapping[str, str]],
    regimes: Sequence[str],
    width: int,
    kernels: Sequence[KernelRecord] = (),
    alpha: float = ALPHA,
    where: str = "qllm.json",
    written: str = "",
) -> Iterator[Line]:
    """Lines of spans with their markup, as pytest's terminal writer takes them; the last says what to do next.

    Args:
        records: verdicts and baselines of the session.
        errors: tests that ended without a verdict.
        regimes: names, in the order of the rows.
        width: columns of the terminal. Only names, commands and errors may be wider.
        kernels: of the session.
        alpha: error at which failures are claimed together.
        where: the file that has the whole of it.
        written: what was written, or why nothing was; a line of its own.
    """
    yield from matrix([record for record in records if not record.is_cost], regimes, width)
    yield from _costs([record for record in records if record.is_cost], regimes, width)
    yield from details.kernels(kernels, regimes, width, where)
    counts = Counter(record.standing for record in records if record.standing is not None)
    if counts:
        yield line("")
        yield _counted(counts)
        share = ", % of the baseline's score" if any(record.is_relative for record in records) else ""
        if any(record.effect is not None and not record.is_cost for record in records):
            yield from wrapped(EFFECT.format(share), width)
        rows = pooled(records)
        listed = {row.line() for row in rows}
        for text in lines(records, alpha):
            if text not in listed:
                yield from wrapped(text, width)
        yield from details.pools(rows, width, where)
    yield from _since(records, regimes, width, where)
    yield from details.worst(records, width, where)
    others = [*details.beside(records, width, where), *details.failures(errors, where)]
    if others:
        yield line("")
        yield from others
    step = next_step(records, kernels, errors, where)
    if step or written:
        yield line("")
    if written:
        yield line(written)
    if step:
        yield (("next: ", {"bold": True}), (step, {}))


def _costs(records: Sequence[Record], regimes: Sequence[str], width: int) -> Iterator[Line]:
    """Time and memory in a table of their own, and by name what is slower than the baseline."""
    if not records:
        return
    yield line("")
    yield from wrapped(MEANING, width, bold=True)
    yield from matrix(records, regimes, width)
    found = list(slower(records))
    if found:
        yield line("")
    for text in found:
        yield from wrapped(text, width, yellow=True)


def _counted(counts: Mapping[str, int]) -> Line:
    """How many of each verdict, the worst first."""
    spans: list[Span] = []
    for name, mark in MARKS.items():
        if name in counts:
            spans += [(", " if spans else "", {}), (f"{counts[name]} {name}", {"bold": True, **mark.markup})]
    return tuple(spans)


def _since(records: Sequence[Record], regimes: Sequence[str], width: int, where: str) -> Iterator[Line]:
    """The table of what changed since a previous release, and the drift of its baseline."""
    found = [(record, record.trend) for record in records if record.trend is not None]
    if not found:
        return
    compared = [
        replace(record, outcome=since.verdict, effect=since.regime.effect, expected=None)
        for record, since in found
        if since.regime is not None and since.verdict is not None
    ]
    yield line("")
    yield from wrapped(f"since {found[0][1].name}, on the items that both have:", width, bold=True)
    yield from matrix(compared, regimes, width)
    notes: list[Line] = []
    for record, since in sorted(found, key=lambda one: (one[0].benchmark, one[0].regime)):
        if record.outcome is None and since.baseline is not None:
            text = f"{record.regime} on {record.benchmark}: {trend.extent(since.baseline, record)}"
            notes.append(line(text))
        elif since.regime is None:
            notes.append(line(f"{record.regime} on {record.benchmark} not compared: {since.reason}"))
    if compared and notes:
        yield line("")
    yield from details.cut(notes, where)
