"""GitHub-flavoured Markdown of text that nobody can trust: a model's words, a path, the name of a benchmark.

Such text only stands in code, where no markup, no HTML, no link and no @mention is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pytest_qllm.report.style import printable

LONGEST = 400
"""Characters of one foreign text before it is cut."""

_PLAIN = re.compile(r"[^`|\\<>@&$]+")
"""What a code span shows as it is, also in a cell of a table, and also where a reader is none of the strict ones."""


def code(text: str) -> str:
    """Foreign text in a line or a cell of a table, to be read as it is."""
    shown = clip(printable(" ".join(text.split())))
    if not shown:
        return ""
    if _PLAIN.fullmatch(shown):
        return f"`{shown}`"
    # In a code span a backtick ends it and a pipe ends the cell; as an entity neither is markup.
    return f"<code>{''.join(one if one.isalnum() or one == ' ' else f'&#{ord(one)};' for one in shown)}</code>"


def block(text: str) -> str:
    """Foreign lines as they are, in a fence that is longer than any in them."""
    lines = [clip(printable(line)) for line in text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join([row(header), row(["---"] * len(header)), *map(row, rows)])


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def tight(cells: Sequence[str]) -> str:
    """A row without blanks, where there are thousands of cells."""
    return f"|{'|'.join(cells)}|"


def folded(title: str, body: str) -> str:
    """A body that opens when its title is clicked; ``title`` is our own words."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def clip(text: str, longest: int = LONGEST) -> str:
    """The beginning of a text that is too long, with how much was left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}... ({len(text) - longest} more characters)"
