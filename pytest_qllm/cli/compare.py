"""`pytest-qllm diff`: what got worse or better between two releases."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_qllm.cli.listing import Commands
from pytest_qllm.cli.reports import FAILS

if TYPE_CHECKING:
    from pytest_qllm.changes import Direction, Row
    from pytest_qllm.report.reader import Report

_HEADS = {
    "lost": "lost more than the tolerance (fails)",
    "worse": "worse, within the tolerance or not proven beyond it",
    "better": "better",
    "same": "no change proven",
    "new": "only in the new release",
    "gone": "only in the old release",
}


def add_commands(commands: Commands) -> None:
    """The command ``diff``."""
    diff = commands.add_parser("diff", help="what got worse or better between two releases")
    diff.add_argument("old", metavar="OLD", help="qllm.json of the old release, or its directory")
    diff.add_argument("new", metavar="NEW", help="qllm.json of the new release, or its directory")
    diff.add_argument("--json", action="store_true", help="print JSON")
    diff.set_defaults(run=_diff)


def _diff(options: argparse.Namespace) -> int:
    from pytest_qllm.changes import Direction, compare
    from pytest_qllm.report.reader import load_report

    old, new = load_report(options.old), load_report(options.new)
    rows = compare(old, new)
    if options.json:
        print(json.dumps([row.to_json() for row in rows], indent=2, allow_nan=False))
    else:
        for line in lines(old, new, rows):
            print(line)
    return FAILS if any(row.direction is Direction.LOST for row in rows) else 0


def lines(old: Report, new: Report, rows: Sequence[Row]) -> Iterator[str]:
    """What people read: what got worse first, and how it was compared."""
    from pytest_qllm.changes import Direction

    yield f"{new.path} of {new.provenance['time'][:10]} against {old.path} of {old.provenance['time'][:10]}"
    reasons = sorted({row.why for row in rows if row.why})
    paired = sum(row.change is not None for row in rows)
    if paired:
        yield f"{paired} compared item by item, each bound one-sided, {100 * (1 - new.alpha):.4g} %"
    for reason in reasons:
        yield f"{sum(row.why == reason for row in rows)} compared by verdict alone: {reason}"
    for direction in Direction:
        found = [row for row in rows if row.direction is direction]
        if found:
            yield ""
            yield f"{_HEADS[str(direction)]}: {len(found)}"
            yield from _table(direction, found)


def _table(direction: Direction, rows: Sequence[Row]) -> Iterator[str]:
    cells = [(row.record.regime, row.record.benchmark, _what(row)) for row in rows]
    widths = [max(len(line[at]) for line in cells) for at in (0, 1)]
    for regime, benchmark, what in cells:
        yield f"  {regime.ljust(widths[0])}  {benchmark.ljust(widths[1])}  {what}".rstrip()


def _what(row: Row) -> str:
    from pytest_qllm.report import trend

    then, now = (None if one is None else one.standing or one.score(one.baseline) for one in (row.then, row.now))
    told = f"{then} -> {now}" if then and now else str(now or then)
    if row.change is None or row.trend is None:
        return told
    differs = f"; not as then: {', '.join(row.trend.differs)}" if row.trend.differs else ""
    return f"{trend.extent(row.change, row.record)}, {row.change.n} items; {told}{differs}"
