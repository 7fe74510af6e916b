"""The tables of an analysis on a terminal, as Markdown, and as a page that stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import log10
from typing import TYPE_CHECKING

from pytest_qllm.analysis.analysis import Analysis, Table, tables
from pytest_qllm.analysis.memory import Point
from pytest_qllm.report import gfm
from pytest_qllm.report.style import printable, wrapped

if TYPE_CHECKING:
    from rich.console import Console


def show(analysis: Analysis, console: Console) -> None:
    """Print the tables; one that is wider than the terminal goes on below, with its names again."""
    from rich.table import Table as RichTable
    from rich.text import Text

    for line in head(analysis):
        console.print(Text(printable(line)))
    for table in tables(analysis):
        for header, rows in _cut(table, console.width):
            console.print()
            made = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False, title_style="bold")
            for at, name in enumerate(header):
                made.add_column(Text(printable(name)), justify="left" if at < table.names else "right", no_wrap=True)
            for row in rows:
                made.add_row(*(Text(printable(cell)) for cell in row))
            console.print(made)
        for note in table.notes:
            for spans in wrapped(note, console.width):
                console.print(Text("".join(text for text, _ in spans)))
    for line in foot(analysis):
        console.print()
        console.print(Text(printable(line)))


def head(analysis: Analysis) -> Iterator[str]:
    """Where the figures are from."""
    yield f"from {analysis.sheet.source}"
    if analysis.sheet.setting:
        yield f"computed in {analysis.sheet.setting}"


def foot(analysis: Analysis) -> Iterator[str]:
    """What has to be known of them."""
    if analysis.why_no_relations:
        yield analysis.why_no_relations
    for note in analysis.sheet.notes:
        yield f"note: {note}"


def _cut(table: Table, width: int) -> Iterator[tuple[Sequence[str], list[Sequence[str]]]]:
    """Pieces of the columns that fit beside the names."""
    every = [table.header, *table.rows]
    widths = [max(len(row[at]) for row in every) for at in range(len(table.header))]
    fixed = sum(widths[: table.names]) + 2 * table.names
    piece: list[int] = []
    for at in range(table.names, len(widths)):
        if piece and fixed + sum(widths[one] + 2 for one in (*piece, at)) > width:
            yield _columns(table, piece)
            piece = []
        piece.append(at)
    yield _columns(table, piece)


def _columns(table: Table, piece: Sequence[int]) -> tuple[Sequence[str], list[Sequence[str]]]:
    places = [*range(table.names), *piece]
    return [table.header[at] for at in places], [[row[at] for at in places] for row in table.rows]


def markdown(analysis: Analysis) -> str:
    """GitHub-flavoured Markdown."""
    parts = ["# Analysis", *(gfm.code(line) for line in head(analysis))]
    for table in tables(analysis):
        rows = [[*map(gfm.code, row[: table.names]), *map(_plain, row[table.names :])] for row in table.rows]
        header = [*map(_plain, table.header[: table.names]), *map(gfm.code, table.header[table.names :])]
        parts += [f"## {table.title.capitalize()}", gfm.table(header, rows), *map(_plain, table.notes)]
    parts += map(_plain, foot(analysis))
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    """A text of ours in which a name may stand: nothing in it is markup."""
    marks = "\\`*_{}[]<>#|~&@"
    return "".join(f"&#{ord(one)};" if one in marks else one for one in printable(text))


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color-scheme:light dark}
div.wide{overflow-x:auto}table{border-collapse:collapse}caption{text-align:left;font-weight:600;padding:.4rem 0}
th,td{padding:.15rem .6rem;text-align:right;border-bottom:1px solid #8884;white-space:nowrap}
.name{text-align:left}p.note{opacity:.75;margin:.2rem 0}svg{max-width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:currentColor}
"""


def page(analysis: Analysis) -> str:
    """One HTML file without scripts; what comes from elsewhere is escaped."""
    body = [f"<p>{escape(line)}</p>" for line in head(analysis)]
    for table in tables(analysis):
        body.append(_html_table(table))
    if analysis.points:
        body.append(_drawn(analysis.points))
    body += [f"<p>{escape(line)}</p>" for line in foot(analysis)]
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>Analysis of {escape(analysis.sheet.source)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>Analysis</h1>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _html_table(table: Table) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        kinds = [' class="name"' if at < table.names else "" for at in range(len(row))]
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    rows = "\n".join(f"<tr>{cells(row, 'td')}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    head = f"<caption>{escape(table.title)}</caption><thead><tr>{cells(table.header, 'th')}</tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>\n{rows}\n</tbody></table></div>{notes}'


_WIDE, _HIGH, _EDGE = 860, 460, 60


def _drawn(points: Sequence[Point]) -> str:
    """The plane: memory on a logarithmic axis, quality upwards; the front is joined."""
    xs, ys = [log10(one.bytes) for one in points], [100 * one.quality for one in points]
    low_x, low_y = min(xs), min(ys)
    span_x, span_y = (max(xs) - low_x) or 1.0, (max(ys) - low_y) or 1.0
    places = [
        (_EDGE + (_WIDE - 4 * _EDGE) * (x - low_x) / span_x, _HIGH - _EDGE - (_HIGH - 2 * _EDGE) * (y - low_y) / span_y)
        for x, y in zip(xs, ys, strict=True)
    ]
    front = [place for place, one in zip(places, points, strict=True) if one.on_front]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{"currentColor" if one.on_front else "none"}" '
        f'stroke="currentColor"/><text x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(one.row)}</text>'
        for (x, y), one in zip(places, points, strict=True)
    )
    axes = (
        f'<text x="{_EDGE}" y="{_HIGH - 15}">memory, {10**low_x / 1e9:.3g} to {10 ** max(xs) / 1e9:.3g} GB '
        f'(logarithmic) &#8594;</text><text x="{_EDGE}" y="20">&#8593; quality, {low_y:.1f} to {max(ys):.1f} % of the '
        "best FP16 model's; filled: on the front</text>"
    )
    return (
        f'<svg role="img" aria-label="Memory and quality" viewBox="0 0 {_WIDE} {_HIGH}">'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-dasharray="3 4"/>{marks}{axes}</svg>'
    )
