"""Follows a page as its reader would: writes its files, runs its commands, puts in what they print.

python docs/follow.py docs/tutorial.md DIR      # DIR: where to; an empty directory, as the reader's is
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"(?:<!-- from: (?P<start>.+?) -->\n)?^```(?P<language>\w*)(?: title=\"(?P<title>.+?)\")?\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
WIDTH = "100"
"""Columns of the terminal that a page shows."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: what the fence names, such as ``python``; ``console`` is commands after ``$`` and what they print.
        title: the file that the block is, else empty.
        body: its lines.
        start: what the first line of output that is shown has in it; the lines before it are left out.
    """

    language: str
    title: str
    body: str
    start: str

    @property
    def commands(self) -> list[str]:
        """Of a ``console`` block those after a ``$``, of a block without a language its lines."""
        lines = self.body.splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line.strip()] if not self.language else []


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in FENCE.finditer(page):
        yield _block(found)


def follow(page: str, into: Path, run: Callable[[str], str]) -> str:
    """The page with the output of its ``console`` blocks as ``run`` gives it; files are written on the way."""

    def followed(found: re.Match[str]) -> str:
        block = _block(found)
        if block.title:
            file = into / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.body)
        if block.language != "console":
            return found[0]
        shown = "".join(f"$ {command}\n{_from(block.start, run(command))}" for command in block.commands)
        return found[0].replace(block.body, shown)

    return FENCE.sub(followed, page)


def _block(found: re.Match[str]) -> Block:
    return Block(found["language"], found["title"] or "", found["body"], found["start"] or "")


def _from(start: str, output: str) -> str:
    """The lines of an output from the first that has ``start`` in it, after dots.

    Raises:
        ValueError: if none does.
    """
    lines = [line.rstrip() for line in output.splitlines()]
    if not start:
        return "".join(f"{line}\n" for line in lines)
    at = next((at for at, line in enumerate(lines) if start in line), None)
    if at is None:
        raise ValueError(f"no line has {start!r} in:\n{output}")
    return "".join(f"{line}\n" for line in ("...", *lines[at:]))


def main() -> None:
    page, into = Path(sys.argv[1]), Path(sys.argv[2])
    environment = {**os.environ, "COLUMNS": WIDTH}

    def run(command: str) -> str:
        print("$", command, flush=True)
        done = subprocess.run(command, shell=True, cwd=into, env=environment, capture_output=True, text=True)
        print(done.stdout, done.stderr, flush=True)
        return done.stdout

    page.write_text(follow(page.read_text(), into, run))


if __name__ == "__main__":
    main()
