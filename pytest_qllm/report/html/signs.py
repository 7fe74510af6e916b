"""How a verdict reads: a letter, a word and a class. Colour goes with them and never stands alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_qllm.report.costs import is_worse
from pytest_qllm.report.record import Record


@dataclass(frozen=True)
class Sign:
    """Of one standing of a record.

    Attributes:
        letter: in a badge.
        word: beside it.
        kind: class of the stylesheet: pass, fail, open, none, known or base.
        severity: the larger, the worse.
        meaning: in the legend.
        marker: in a plot.
    """

    letter: str
    word: str
    kind: str
    severity: int
    meaning: str
    marker: str = "circle"


SIGNS: dict[str | None, Sign] = {
    "worse": Sign("W", "WORSE", "fail", 8, "an accepted loss, proven larger than its bound", "x"),
    "FAIL": Sign("F", "FAIL", "fail", 7, "the loss is proven larger than the tolerance", "x"),
    "mended": Sign("M", "MENDED", "fail", 6, "an accepted loss that is gone: its entry has to go", "star"),
    "INCONCLUSIVE": Sign("I", "INCONCL.", "open", 5, "neither is proven; more items decide", "diamond-open"),
    "xfail": Sign("A", "ACCEPTED", "known", 4, "a known loss within its accepted bound", "square-open"),
    "xpass": Sign("X", "XPASS", "known", 3, "an accepted loss that is gone", "star"),
    "PASS": Sign("P", "PASS", "pass", 2, "the loss is proven smaller than the tolerance"),
    "NO_SIGNAL": Sign("N", "no signal", "none", 1, "the baseline is too close to chance to tell a loss"),
    "UNGATED": Sign("U", "ungated", "none", 1, "measured, and no tolerance says what is allowed"),
    None: Sign("B", "baseline", "base", 0, "the FP16 score"),
}
"""By standing, the worst first."""


def sign_of(record: Record) -> Sign:
    """Of how its test ends; a loss since the previous release is a FAIL as well, unless it is an accepted one.

    A cost that nobody gates has a colour where it is a loss.
    """
    own = SIGNS[record.standing]
    if record.standing == "UNGATED" and is_worse(record):
        return replace(own, kind="open")
    slid = record.has_slid and record.standing != "xfail" and own.kind != "fail"
    return SIGNS["FAIL"] if slid else own


def change_of(record: Record, value: float | None) -> str:
    """An effect or a bound, typeset; a ratio near 1 with three decimals, since that is where tolerances lie."""
    if record.is_ratio and value is not None and 0 < value < 10:
        return f"\N{MULTIPLICATION SIGN}{value:.3f}"
    return typeset(record.change(value))


def typeset(text: str) -> str:
    """A figure with a true minus and a true times sign."""
    if text.startswith("-"):
        return "\N{MINUS SIGN}" + text[1:]
    return "\N{MULTIPLICATION SIGN}" + text[1:] if text.startswith("x") and text[1:2].isdigit() else text
