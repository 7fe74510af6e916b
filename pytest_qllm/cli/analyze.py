"""`pytest-qllm analyze`: the tables of a whole evaluation from what was measured before."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.cli.listing import Commands
from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    from pytest_qllm.analysis.sheet import Sheet


def add_commands(commands: Commands) -> None:
    """The command ``analyze``."""
    analyze = commands.add_parser("analyze", help="summary table, correlations and the memory-quality plane")
    analyze.add_argument(
        "scores", metavar="CSV", nargs="?", type=Path, help="table of scores instead of the store, as a paper has it"
    )
    analyze.add_argument(
        "--store", metavar="DIR", type=Path, help="where measurements are (default: in the user's cache)"
    )
    analyze.add_argument("--setting", metavar="NAME", default="", help="which one, where the store has several")
    for name in ("models", "regimes", "benchmarks"):
        analyze.add_argument(f"--{name}", metavar="NAMES", default="", help=f"only these {name}, joined by commas")
    analyze.add_argument("--log-perplexity", action="store_true", help="correlate the logarithm of the perplexity")
    analyze.add_argument("--json", metavar="FILE", type=Path, help="write JSON")
    analyze.add_argument("--markdown", metavar="FILE", type=Path, help="write GitHub-flavoured Markdown")
    analyze.add_argument("--html", metavar="FILE", type=Path, help="write a page")
    analyze.set_defaults(run=_analyze)


def _analyze(options: argparse.Namespace) -> int:
    from rich.console import Console

    from pytest_qllm.analysis.analysis import Analysis
    from pytest_qllm.analysis.forms import markdown, page, show

    analysis = Analysis.of(_sheet(options), logarithm=options.log_perplexity)
    show(analysis, Console(highlight=False, markup=False, soft_wrap=True))
    if options.json is not None:
        _write(options.json, json.dumps(analysis.to_json(), indent=2, allow_nan=False) + "\n")
    if options.markdown is not None:
        _write(options.markdown, markdown(analysis))
    if options.html is not None:
        _write(options.html, page(analysis))
    return 0


def _sheet(options: argparse.Namespace) -> Sheet:
    if options.scores is not None:
        chosen = [name for name in ("store", "setting", "models", "regimes", "benchmarks") if getattr(options, name)]
        if chosen:
            raise QllmError(f"--{chosen[0]} chooses in a store, and {options.scores} is read instead of one; give one")
        from pytest_qllm.analysis import published

        return published.read(options.scores)
    from pytest_qllm.analysis import stored
    from pytest_qllm.options import cache_directory

    names = {
        name: [one.strip() for one in getattr(options, name).split(",") if one.strip()]
        for name in ("models", "regimes", "benchmarks")
    }
    return stored.read(options.store or cache_directory() / "store", setting=options.setting, **names)


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise QllmError(f"cannot write {path}: {error.strerror}; choose another file") from error
    print(f"written: {path}")
