"""How a verdict looks in a terminal: a word, a letter, a colour, and how bad it is. Colour is never the only sign."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, log

from pytest_qllm.report.costs import is_worse
from pytest_qllm.report.record import Record

Markup = dict[str, bool]
Span = tuple[str, Markup]
"""A text and its markup, as pytest's terminal writer takes them."""
Line = tuple[Span, ...]


@dataclass(frozen=True)
class Mark:
    """One kind of verdict: the word where there is room, the letter where there is little."""

    name: str
    word: str
    letter: str
    markup: Markup = field(default_factory=dict)


_RED, _YELLOW, _GREEN = {"red": True}, {"yellow": True}, {"green": True}

MARKS = {
    mark.name: mark
    for mark in (
        Mark("worse", "worse", "W", _RED),
        Mark("FAIL", "FAIL", "F", _RED),
        Mark("mended", "mended", "M", _RED),
        Mark("INCONCLUSIVE", "INCONCL.", "I", _YELLOW),
        Mark("xfail", "xfail", "x", _YELLOW),
        Mark("xpass", "xpass", "X", _YELLOW),
        Mark("PASS", "PASS", "P", _GREEN),
        Mark("NO_SIGNAL", "no signal", "N"),
        Mark("UNGATED", "ungated", "U"),
    )
}
"""By how a test ends (``Record.standing``), the worst first."""

_WORST = tuple(MARKS)


def mark_of(record: Record) -> Mark | None:
    """How the record's test ends; None for a baseline."""
    return None if record.standing is None else MARKS[record.standing]


def markup_of(record: Record) -> Markup:
    """The colours of a cell; a cost that nobody gates has one as well, where it is a loss."""
    mark = mark_of(record)
    if mark is None:
        return {}
    return _YELLOW if mark.name == "UNGATED" and is_worse(record) else mark.markup


def badness(record: Record) -> tuple[int, float]:
    """A key that grows with how bad a verdict is: by its kind, then by the loss in units of what was allowed."""
    if record.standing is None:
        return -1, -inf
    return len(_WORST) - _WORST.index(record.standing), excess(record)


def excess(record: Record) -> float:
    """The loss as a multiple of the tolerance, above 1 beyond it; -inf where nothing was compared."""
    if record.effect is None or record.tolerance is None:
        return -inf
    if record.is_ratio:
        loss = log(record.effect) if record.effect > 0 else -inf
        allowed = log(record.tolerance) if record.tolerance > 0 else -inf
    else:
        loss, allowed = -record.effect, record.tolerance
    if allowed > 0:
        return loss / allowed
    if allowed < 0:  # a cost that has to be a gain
        return 1 + loss - allowed
    return inf if loss > 0 else -inf


def line(text: str, **markup: bool) -> Line:
    return ((text, markup),)


def wrapped(text: str, width: int, **markup: bool) -> Iterator[Line]:
    """A sentence in lines of at most so many columns; words are left whole, and percent signs with their numbers."""
    bound = text.replace(" %", "\N{NO-BREAK SPACE}%")
    parts = textwrap.wrap(bound, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    yield from (line(part.replace("\N{NO-BREAK SPACE}%", " %"), **markup) for part in parts)


def stripped(spans: Sequence[Span]) -> Line:
    """Spans as a line without blanks at its end."""
    kept = list(spans)
    while kept and not kept[-1][0].strip():
        kept.pop()
    if not kept:
        return line("")
    text, markup = kept[-1]
    return (*kept[:-1], (text.rstrip(), markup))


def printable(text: str) -> str:
    """Text with control characters written out: what a model or a library says must not steer a terminal."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
