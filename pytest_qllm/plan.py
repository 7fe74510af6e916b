"""What a gate can decide with its items, before anything is measured. Pure: numbers in, a Plan out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import ceil, log, log1p
from typing import Any

from pytest_qllm.verdict import power
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sequential import Design


@dataclass(frozen=True)
class Power:
    """What so many items can decide about an accuracy, at the flip rate that is expected of a bit-width.

    Attributes:
        flips: share of answers expected to flip.
        planned: items that are used at most.
        needed: items with which the tolerance is decided with 95 % power; None where no number does (no tolerance).
        seen: smallest loss told from none with 80 % power, which is the smallest tolerance that can be decided.
        failed: smallest loss that is proven to be beyond the tolerance, with 80 % power.
        decidable: whether a harmless regime passes with 80 % power.
    """

    flips: float
    planned: int
    needed: int | None
    seen: float
    failed: float
    decidable: bool


@lru_cache(maxsize=1024)
def power_of(available: int, tolerance: float, bits: int, design: Design) -> Power:
    """The power of a test of an accuracy.

    Args:
        available: items at hand, at least 1.
        tolerance: as a difference of proportions, from 0 below 1.
        bits: width of a weight, which says how many answers flip.
    """
    flips = power.expected_flips(bits)
    # No number of items proves a loss of nothing.
    needed = power.planned_items(tolerance, flips, design=design) if tolerance > 0 else None
    planned = available if design.is_fixed or needed is None else min(available, needed)
    effective = max(1, int(planned / design.inflation))
    # With as many as are needed it is decidable by construction; the exact enumeration takes half a second.
    enough = needed is not None and planned >= needed
    return Power(
        flips,
        planned,
        needed,
        power.detectable_loss(effective, flips, alpha=design.alpha),
        power.failing_loss(effective, flips, tolerance, alpha=design.alpha),
        enough or (needed is not None and power.decidable(planned, tolerance, flips, design=design)),
    )


LEAST = 80
"""Items that are planned at least: what a width is expected to do is no more than a guess."""


def is_known(kind: Kind, *, relative: bool) -> bool:
    """Whether the power of a test is known before: answers flip at a rate that the width tells, other scores do not.

    Of a relative tolerance it is not, for it says nothing in points before the baseline's score is known.
    """
    return kind is Kind.ACCURACY and not relative


def planned_items(
    kind: Kind, available: int, tolerance: float, bits: int, design: Design, chunk: int, *, relative: bool = False
) -> int:
    """Items that a test may use: as many as its tolerance needs at the width's flips, if there are so many.

    A plan that is larger than it has to be spends its error late, and then uses more items. Whole chunks, which are
    what is measured together, are taken where there are enough items.
    """
    if not is_known(kind, relative=relative):
        return available
    planned = max(LEAST, power_of(available, tolerance, bits, design).planned)
    return min(available, -(-planned // chunk) * chunk)


def undecidable(
    kind: Kind, available: int, tolerance: float, bits: int, design: Design, *, relative: bool = False
) -> str:
    """Why the tolerance cannot be decided with the items at hand; empty where it can, or where power is unknown."""
    if not is_known(kind, relative=relative):
        return ""
    found = power_of(available, tolerance, bits, design)
    if found.decidable:
        return ""
    if found.needed is None:
        return "no number of items proves a tolerance of 0"
    return f"needs about {found.needed} items, {available} are at hand"


def too_few(kind: Kind, units: int, tolerance: float, design: Design, *, relative: bool = False) -> str:
    """Why so few independent items or clusters pass no regime, whatever they score; empty where they are enough.

    A bounded score is not proven to lose less than the tolerance by fewer units than would show a loss of all or
    nothing in one of them (Gaffke's limit, and Clopper and Pearson's); other kinds have a fewest number.
    """
    least = kind.minimum
    if kind.has_chance and not relative and 0 < tolerance < 1:
        least = max(least, ceil(log(design.alpha) / log1p(-tolerance)))
    return "" if units >= least else f"needs at least {least} {kind.units}, {units} are at hand"


@dataclass(frozen=True)
class Plan:
    """One gate as it is planned.

    Attributes:
        model, regime, bits, benchmark, metric, scale: what is asked.
        tolerance: largest allowed loss; None for the baseline.
        asked: items that the test asks for.
        available: items that there are of these; None before the data are here.
        planned: items used at most; without early stopping all are.
        advice: how to get more items.
        power: None for the baseline, and where no flip rate is expected (any but an accuracy, relative tolerances).
        signal: why the baseline's scores cannot carry a verdict; empty where they can, None where they are not known.
        stored: items whose scores are in the store already; None where the checkpoint is not here to tell.
        tokens: that are still to be computed, at most; None before the data are here.
        counted: whether the checkpoint's tokenizer counted them, else characters / 4.
        seconds: that this machine takes for them; None where nothing of the kind was measured on it.
        gflop: 2 * weights * tokens / 1e9; None where the checkpoint is not here.
        note: what is not known and why.
    """

    model: str
    regime: str
    bits: int
    benchmark: str
    metric: str
    scale: str
    tolerance: float | None
    asked: int
    available: int | None
    planned: int
    advice: str = ""
    power: Power | None = None
    signal: str | None = None
    stored: int | None = None
    tokens: int | None = None
    counted: bool = False
    seconds: float | None = None
    gflop: float | None = None
    note: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Plan:
        found = content["power"]
        return cls(**{**content, "power": None if found is None else Power(**found)})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def at_hand(self) -> int:
        """Items that there are, or as many as are asked for where that is not known yet."""
        return self.asked if self.available is None else self.available

    def undecided(self) -> str:
        """Why and by how much the tolerance is out of reach, in words; empty where it is not."""
        subject = f"{self.benchmark} on {self.regime}: "
        if self.signal:
            return f"{subject}NO_SIGNAL: {self.signal}"
        if self.power is None or self.tolerance is None or self.power.decidable:
            return ""
        if self.power.needed is None:
            return f"{subject}no number of items proves a tolerance of 0; widen it"
        return (
            f"{subject}{self.at_hand} items cannot decide {100 * self.tolerance:.3g} points: {self.power.needed} are "
            f"needed; {self.advice}"
        )
