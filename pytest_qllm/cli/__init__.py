"""`pytest-qllm`: what can be chosen, and what to do with the reports of sessions. Imports no torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pytest_qllm.cli import analyze, compare, listing, manifests, reports
from pytest_qllm.errors import QllmError

BAD_INPUT = 2
"""Exit status where something that was given is not what it should be; argparse's own for a wrong option."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 all is well, 1 a verdict fails, 2 bad input."""
    parser = argparse.ArgumentParser(prog="pytest-qllm", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in (listing, reports, compare, analyze, manifests):
        room.add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except QllmError as error:
        print(f"pytest-qllm: {error}", file=sys.stderr)
        return BAD_INPUT
