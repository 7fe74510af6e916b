"""What `--qllm-fetch` brought, as lines for the terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_qllm.fetch import Fetched

Line = tuple[str, dict[str, bool]]


def lines(found: Iterable[Fetched], errors: Sequence[Mapping[str, Any]]) -> list[Line]:
    """A line for each thing, each once, and each reason once why something is not here."""
    distinct = _distinct(found)
    rows = [
        (one.name, one.source, _size(one.size), _items(one), "was here" if one.was_here else "fetched", one.path)
        for one in distinct
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    made: list[Line] = [
        ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), {}) for row in rows
    ]
    reasons = dict.fromkeys(str(error["message"]).partition(": ")[2] or str(error["message"]) for error in errors)
    made += [(f"NOT HERE: {reason}", {"red": True, "bold": True}) for reason in reasons]
    places = {one.path: one.size or 0 for one in distinct}
    total = f"{_size(sum(places.values()))} in {len(places)} places; " if places else ""
    ready = "something is missing: mend it and fetch again" if reasons else "the same tests need no network now"
    return [*made, (f"{total}{ready}", {"red" if reasons else "green": True})]


def _distinct(found: Iterable[Fetched]) -> list[Fetched]:
    """Each thing once; the first test that needed it is the one that fetched it."""
    first: dict[tuple[str, str, str], Fetched] = {}
    for one in found:
        place = (one.name, one.source, one.path)
        if place not in first or (first[place].was_here and not one.was_here):
            first[place] = one
    return list(first.values())


def _size(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:,.1f} MB"


def _items(one: Fetched) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in (one.items or {}).items())
