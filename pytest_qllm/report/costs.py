"""How a cost reads: its figures with their units, and at a glance whether a regime is slower or larger than FP16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_qllm.efficiency.costs import BYTES, DIMENSION, TOKEN, UNITS

if TYPE_CHECKING:
    from pytest_qllm.report.record import Record

MEANING = "efficiency: x the baseline's cost, below 1 is a saving; slower and larger only where both limits say so"

_WORDS = {True: ("smaller", "larger"), False: ("faster", "slower")}


def is_cost(record: Record) -> bool:
    return record.dimension == DIMENSION and record.metric in UNITS


def figure(metric: str, value: float) -> str:
    """A figure with its unit: ``45.2 tokens/s``, ``0.412 s``, ``269 MB``."""
    if metric == TOKEN:
        return f"{1 / value:.3g} tokens/s" if value > 0 else "-"
    if metric == BYTES:
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:.3g} {unit}"
        return f"{value:.0f} bytes"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def way(record: Record) -> str:
    """``slower``, ``faster``, ``larger`` or ``smaller`` if both limits say so, else nothing."""
    low, high = record.ci or (None, None)
    less, more = _WORDS[record.metric == BYTES]
    if low is not None and low > 1:
        return more
    return less if high is not None and high < 1 else ""


def is_worse(record: Record) -> bool:
    return way(record) in ("slower", "larger")


def cell(record: Record, word: str) -> str:
    """One cell of the summary: the verdict, if there is one, the ratio, and which way it goes."""
    ratio = record.change(record.effect)
    return " ".join(part for part in ("" if record.outcome == "UNGATED" else word, ratio, way(record)) if part)


def message(record: Record, subject: str, rerun: str) -> str:
    """What a failed or skipped test says; reads at once."""
    assert record.effect is not None
    assert record.ci is not None
    assert record.candidate is not None
    low, high = map(record.change, record.ci)
    allowed = "none is set: measured, not gated" if record.tolerance is None else record.change(record.tolerance)
    why = record.reason or _sentence(record)
    lines = [
        ("baseline", f"{figure(record.metric, record.baseline)}{_engine(record, 'baseline')}"),
        ("candidate", f"{figure(record.metric, record.candidate)}{_engine(record, 'candidate')}"),
        ("effect", f"{record.change(record.effect)} the baseline's cost, between {low} and {high} ({basis(record)})"),
        ("tolerance", allowed),
        ("measured", conditions(record)),
        ("rerun", rerun),
    ]
    return "\n".join([f"{subject}: {why}" if why else subject, *(f"  {name:<11} {text}" for name, text in lines)])


def basis(record: Record) -> str:
    """What the limits are."""
    if record.alphas is None:
        return "counted: no error of sampling" if record.interval == "counted" else f"the {record.interval}"
    low, high = (f"{100 * (1 - alpha):.4g} %" for alpha in record.alphas)
    return f"each bound one-sided, {low if low == high else f'{low} and {high}'}, {record.n} pairs of runs"


def conditions(record: Record) -> str:
    """Shape, batch and machine in a line."""
    about = record.provenance
    machine = about.get("machine", {})
    parts = [
        f"{about['shape']} tokens" if about.get("shape") else "",
        f"batch {about['batch']}" if about.get("batch") else "",
        f"{about['dtype']} on {about['device']}" if "dtype" in about else "",
        f"{about['threads']} threads" if "threads" in about else "",
        f"host {machine['host']}" if machine.get("host") else "",
        f"other processes took {100 * about['others']:.0f} % of it" if about.get("others") is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def slower(records: Sequence[Record]) -> Iterator[str]:
    """The finding that must not be missed: a line for each time in which regimes are slower than their baseline."""
    by_name: dict[str, list[Record]] = {}
    for record in records:
        if is_cost(record) and way(record) == "slower":
            by_name.setdefault(record.benchmark, []).append(record)
    for name, found in sorted(by_name.items()):
        found.sort(key=lambda record: (-(record.effect or 0), record.regime))
        regimes = ", ".join(f"{record.regime} {record.change(record.effect)}" for record in found)
        yield f"slower than the baseline in {name}: {regimes}"


def _sentence(record: Record) -> str:
    if record.tolerance is None:
        word = way(record)
        return f"{word} than the baseline" if word else "neither a gain nor a loss is proven"
    allowed = f"a cost of more than {record.change(record.tolerance)} the baseline's"
    if record.outcome == "FAIL":
        return f"{allowed} is proven"
    return f"{allowed} is neither proven nor ruled out" if record.outcome == "INCONCLUSIVE" else ""


def _engine(record: Record, side: str) -> str:
    """What runs it, where the two are run by different programs: then the ratio is of these as well."""
    engines = [record.provenance.get(f"{one}_engine") for one in ("baseline", "candidate")]
    own = record.provenance.get(f"{side}_engine")
    return f" by {own}" if own and len(set(engines)) > 1 else ""
