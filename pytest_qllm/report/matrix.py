"""The verdict matrix in a terminal: regimes as rows, benchmarks as columns, in the most telling form that has room."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS, Line, Span, badness, line, mark_of, markup_of, stripped, wrapped

HEADING = 12
"""Columns of a benchmark's name before it is broken, where names are broken at all."""

TALL = 60
"""Lines of tables, one below another, beyond which one table of letters is shown instead."""

Cells = Mapping[tuple[str, str], Record]


@dataclass(frozen=True)
class _Form:
    """One way to write the matrix: the text of a cell, and the lines of a column's heading."""

    cell: Callable[[Record], str]
    heading: Callable[[str], list[str]]
    gap: int = 2


def matrix(records: Sequence[Record], regimes: Sequence[str], width: int) -> Iterator[Line]:
    """Lines of the matrix, none wider than ``width`` unless a single name is; benchmarks without signal below it.

    In the first of these forms that has room: words and effects in one table; letters and effects, in tables one
    below another; letters alone under numbers, and what the numbers stand for.
    """
    cells = _worst(records)
    silent = _silent(records)
    pooled = {record.benchmark for record in records if record.pooled is not None}
    columns = sorted({record.benchmark for record in records} - silent, key=lambda name: (name in pooled, name))
    rows = [name for name in regimes if any((name, column) in cells for column in columns)]
    if columns:
        yield from _table(cells, rows, columns, width)
    if silent:
        yield line("")
        names = ", ".join(sorted(silent))
        yield from wrapped(f"no signal: {names} (the baseline is near chance or all right on these items)", width)


def _worst(records: Sequence[Record]) -> dict[tuple[str, str], Record]:
    """Two tests may ask the same of a regime: the worse verdict is shown."""
    cells: dict[tuple[str, str], Record] = {}
    for record in records:
        place = (record.regime, record.benchmark)
        if place not in cells or badness(record) > badness(cells[place]):
            cells[place] = record
    return cells


def _silent(records: Sequence[Record]) -> set[str]:
    """Benchmarks without signal for every regime: a column of them says nothing."""
    judged = [record for record in records if record.outcome is not None]
    return {record.benchmark for record in judged} - {
        record.benchmark for record in judged if record.outcome != "NO_SIGNAL"
    }


def _table(cells: Cells, rows: Sequence[str], columns: Sequence[str], width: int) -> Iterator[Line]:
    first = max(map(len, (*rows, "regime")))
    room = width - first
    for form in (_Form(Record.cell, lambda name: [name]), _Form(Record.cell, _broken)):
        if sum(_column(form, cells, rows, name) + form.gap for name in columns) <= room:
            yield from _rendered(form, cells, rows, [columns], first)
            return
    form = _Form(_letter_and_effect, _broken)
    blocks = _blocks(form, cells, rows, columns, room)
    if len(blocks) == 1 or len(blocks) * (len(rows) + 2) <= TALL:
        yield from _rendered(form, cells, rows, blocks, first)
    else:
        yield from _map(cells, rows, columns, first, width)
    yield line("")
    yield from _legend(cells, rows, columns)


def _map(cells: Cells, rows: Sequence[str], columns: Sequence[str], first: int, width: int) -> Iterator[Line]:
    """One letter a cell; benchmarks have numbers, read from top to bottom, and baselines stand with their names."""
    digits = len(str(len(columns)))
    numbers = {name: f"{at:>{digits}}" for at, name in enumerate(columns, 1)}
    form = _Form(_letter, lambda name: list(numbers[name]), gap=1)
    judged = [row for row in rows if any(record.outcome for (name, _), record in cells.items() if name == row)]
    yield from _rendered(form, cells, judged, _blocks(form, cells, judged, columns, width - first), first)
    yield line("")
    baselines = {name: record for (_, name), record in cells.items() if record.outcome is None}
    entries = [
        f"{numbers[name]} {name}" + (f" {baselines[name].score(baselines[name].baseline)}" if name in baselines else "")
        for name in columns
    ]
    widest = max(map(len, entries)) + 2
    across = max(1, (width + 2) // widest)
    down = -(-len(entries) // across)
    if widest - 2 > width:
        for entry in entries:
            yield from wrapped(entry, width)
        return
    for at in range(down):
        yield line("".join(entry.ljust(widest) for entry in entries[at::down]).rstrip())


def _rendered(
    form: _Form, cells: Cells, rows: Sequence[str], blocks: Sequence[Sequence[str]], first: int
) -> Iterator[Line]:
    for columns in blocks:
        widths = {name: _column(form, cells, rows, name) for name in columns}
        headings = {name: form.heading(name) for name in columns}
        height = max(map(len, headings.values()))
        yield line("")
        for at in range(height):
            texts = [[*[""] * (height - len(headings[name])), *headings[name]][at] for name in columns]
            start = ("regime" if at == height - 1 else "").ljust(first + 2 - form.gap)
            parts = [text.ljust(widths[name]) for name, text in zip(columns, texts, strict=True)]
            yield line((" " * form.gap).join([start, *parts]).rstrip(), bold=True)
        for row in rows:
            spans: list[Span] = [(row.ljust(first + 2 - form.gap), {})]
            for name in columns:
                record = cells.get((row, name))
                spans += _cell(form, record, widths[name])
            yield stripped(spans)


def _cell(form: _Form, record: Record | None, width: int) -> list[Span]:
    text = "-" if record is None else form.cell(record)
    return [(" " * form.gap, {}), (text, {} if record is None else markup_of(record)), (" " * (width - len(text)), {})]


def _blocks(form: _Form, cells: Cells, rows: Sequence[str], columns: Sequence[str], room: int) -> list[list[str]]:
    """Columns that fit side by side, as evenly as may be; the others go into a table below."""
    widths = {name: _column(form, cells, rows, name) + form.gap for name in columns}
    blocks = _filled(widths, room - 2 + form.gap)
    for less in range(room - 2 + form.gap, 0, -1):
        evener = _filled(widths, less)
        if len(evener) > len(blocks):
            break
        blocks = evener
    return blocks


def _filled(widths: Mapping[str, int], room: int) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    used = 0
    for name, needed in widths.items():
        if blocks[-1] and used + needed > room:
            blocks.append([])
            used = 0
        blocks[-1].append(name)
        used += needed
    return blocks


def _column(form: _Form, cells: Cells, rows: Sequence[str], name: str) -> int:
    texts = [form.cell(cells[row, name]) for row in rows if (row, name) in cells]
    return max(map(len, (*form.heading(name), *texts, "-")))


def _broken(name: str) -> list[str]:
    """A name in lines of at most ``HEADING`` columns, broken where its words end, if that does it."""
    lines = [""]
    for word in re.split(r"(?<=[_\-./: ])", name):
        for part in (word[at : at + HEADING] for at in range(0, len(word), HEADING)):
            if len(lines[-1]) + len(part) > HEADING:
                lines.append("")
            lines[-1] += part
    return [one for one in lines if one]


def _letter(record: Record) -> str:
    mark = mark_of(record)
    return "-" if mark is None else mark.letter


def _letter_and_effect(record: Record) -> str:
    mark = mark_of(record)
    if mark is None:
        return record.score(record.baseline)
    return mark.letter if record.effect is None else f"{mark.letter} {record.change(record.effect)}"


def _legend(cells: Cells, rows: Sequence[str], columns: Sequence[str]) -> Iterator[Line]:
    """What the letters stand for; those alone that are there."""
    there = {record.standing for (row, name), record in cells.items() if row in rows and name in columns}
    spans: list[Span] = []
    for mark in MARKS.values():
        if mark.name in there:
            spans += [(", " if spans else "", {}), (mark.letter, mark.markup), (f" {mark.name}", {})]
    if spans:
        yield tuple(spans)
