"""What to do next, in a line: the last one of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import badness, excess


def next_step(
    records: Sequence[Record], kernels: Sequence[KernelRecord], errors: Sequence[Mapping[str, str]], where: str
) -> str:
    """The step that brings most, or "" where there is none: the worst that happened decides.

    Args:
        records: of the session.
        kernels: of the session.
        errors: tests that ended without a verdict.
        where: the report, as its reader opens it.
    """
    lost = [record for record in records if record.standing in ("FAIL", "worse") or record.has_slid]
    if lost:
        first = max(lost, key=lambda record: (excess(record), badness(record), record.benchmark, record.regime))
        return _joined(f"see {where}", f"the worst again: {first.rerun}" if first.rerun else "")
    wrong = [kernel for kernel in kernels if not kernel.agrees]
    if wrong:
        names = ", ".join(sorted({kernel.regime for kernel in wrong}))
        return f"choose another kernel or dtype for {names}, or score the kernel itself with --qllm-exact-kernels"
    if errors:
        return "mend what ended in an error and give the same command again: what was measured is kept"
    mended = sorted({f"{record.regime} on {record.benchmark}" for record in records if record.standing == "mended"})
    if mended:
        return f"remove what was mended from [tool.qllm.expected]: {', '.join(mended)}"
    open_ = [record for record in records if record.standing == "INCONCLUSIVE"]
    if open_:
        return _more_items(open_)
    judged = [record for record in records if record.outcome is not None]
    if judged and all(record.outcome == "NO_SIGNAL" for record in judged):
        return "nothing was judged: raise the items, or gate a model that is further from chance on them"
    return f"nothing to mend; the evidence is in {where}" if judged else ""


def _more_items(records: Sequence[Record]) -> str:
    """Where the numbers say so, how many: what a fixed design would have needed, by the spread that was seen."""
    needed = [(record.fixed, record) for record in records if record.fixed is not None and record.fixed > record.n]
    raised = "raise items (`items=` of the gate, --qllm-max-items) or the tolerance; --qllm-plan says how many decide"
    if not needed:
        return raised
    most, record = max(needed, key=lambda pair: (pair[0], pair[1].benchmark, pair[1].regime))
    return f"{raised}: {record.benchmark} on {record.regime} needs about {most}, and had {record.n}"


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
