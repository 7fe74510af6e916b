"""`pytest-qllm list` and `pytest-qllm tolerances`: what can be chosen, what it needs, and what it may lose."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

Commands = Any
"""argparse's action that adds commands; its type has no public name."""

if TYPE_CHECKING:
    from pytest_qllm.regimes.regime import Regime


def add_commands(commands: Commands) -> None:
    """The commands ``list`` and ``tolerances``."""
    listing = commands.add_parser("list", help="regimes and benchmarks, and whether each can run here")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    tolerances = commands.add_parser("tolerances", help="the effective table of tolerances, and expected losses")
    tolerances.add_argument(
        "--file", type=Path, default=Path("pyproject.toml"), help="TOML file (default: %(default)s)"
    )
    tolerances.add_argument("--json", action="store_true", help="print JSON")
    tolerances.set_defaults(run=_tolerances)


def _list(options: argparse.Namespace) -> int:
    content = listed()
    print(json.dumps(content, indent=2)) if options.json else _print_list(content)
    return 0


def _tolerances(options: argparse.Namespace) -> int:
    table = effective_tolerances(options.file)
    losses = expected_losses(options.file)
    if options.json:
        print(json.dumps({**table, "expected": losses}, indent=2))
    else:
        _print_tolerances(table, options.file)
        _print_expected(losses)
    return 0


def listed() -> dict[str, list[dict[str, Any]]]:
    """Every regime and benchmark that can be chosen by name."""
    from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
    from pytest_qllm.regimes.catalog import RegimeCatalog

    regimes = [
        {
            "name": regime.name,
            "method": regime.method,
            "bits": regime.bits,
            "runnable": not _needs(regime),
            "needs": _needs(regime),
        }
        for regime in RegimeCatalog()
    ]
    return {"regimes": regimes, "benchmarks": [benchmark.describe() for benchmark in BenchmarkCatalog()]}


def _needs(regime: Regime) -> str:
    """What this machine lacks for a regime: the command that installs it, or a device."""
    missing = regime.missing()
    return missing if missing is not None else ("a CUDA device" if regime.needs_device() else "")


def effective_tolerances(file: Path) -> dict[str, dict[str, float | str]]:
    """Tolerance of every benchmark, of ``prob``, and of every cost, by width, as a session with this file applies it.

    ``"-"``: of a cost that is measured and not gated.
    """
    from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
    from pytest_qllm.efficiency.costs import COSTS
    from pytest_qllm.tables import read_tolerances
    from pytest_qllm.verdict.tolerance import Tolerances

    catalog = BenchmarkCatalog()
    given = read_tolerances(file) if file.is_file() else {}
    tolerances = Tolerances.from_toml(given, [benchmark.name for benchmark in catalog], str(file))
    widths = sorted({width for table in tolerances.tables.values() for width in table}, reverse=True)
    quality = {
        name: {str(bits): tolerances.of(name, kind, bits).written for bits in widths}
        for name, kind in [
            *((benchmark.name, benchmark.kind) for benchmark in catalog),
            ("prob", "prob"),
            ("pooled", "pooled"),
        ]
    }
    costs = {one.name: {str(bits): tolerances.of_cost(one.name, bits) or "-" for bits in widths} for one in COSTS}
    return {**quality, **costs}


def expected_losses(file: Path) -> list[dict[str, Any]]:
    """Every known loss of this file. A regime that a plugin adds is not known here, and taken as it is written."""
    from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
    from pytest_qllm.regimes.catalog import ALIASES, RegimeCatalog
    from pytest_qllm.tables import read_expected, read_tolerances
    from pytest_qllm.verdict.expected import ExpectedLosses
    from pytest_qllm.verdict.tolerance import Tolerances

    if not file.is_file():
        return []
    kinds = {benchmark.name: benchmark.kind for benchmark in BenchmarkCatalog()}
    tolerances = Tolerances.from_toml(read_tolerances(file), list(kinds), str(file))
    losses = ExpectedLosses.from_toml(read_expected(file), lambda name: ALIASES.get(name, name), kinds, str(file))
    bits = {regime.name: regime.bits for regime in RegimeCatalog()}
    for regime, benchmark, _ in losses:
        if regime in bits:
            losses.of(regime, benchmark, tolerances.of(benchmark, kinds[benchmark], bits[regime]))
    return [{"regime": regime, "benchmark": benchmark, **asdict(entry)} for regime, benchmark, entry in losses]


def _print_list(content: dict[str, list[dict[str, Any]]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # into a file or a pipe: nothing is cut off
    regimes = Table(title="regimes", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "method", "bits", "runs here"):
        regimes.add_column(column)
    for regime in content["regimes"]:
        state = "yes" if regime["runnable"] else f"no: {regime['needs']}"
        regimes.add_row(regime["name"], regime["method"], str(regime["bits"]), state)
    benchmarks = Table(title="benchmarks", title_justify="left", box=None, pad_edge=False)
    for column in ("name", "dimension", "items", "of", "source", "licence"):
        benchmarks.add_column(column)
    for benchmark in content["benchmarks"]:
        available = "?" if benchmark["available"] is None else str(benchmark["available"])
        others = (benchmark["source"], benchmark["licence"])
        benchmarks.add_row(benchmark["name"], benchmark["dimension"], str(benchmark["items"]), available, *others)
    console.print(regimes, "", benchmarks, markup=False)


def _print_tolerances(table: dict[str, dict[str, float | str]], file: Path) -> None:
    source = f"{file} over the defaults" if file.is_file() else "the defaults"
    print(f"what may be lost against fp16, by bits ({source}); a difference of proportions, or a ratio of perplexities")
    print("or of costs (-: measured and not gated)")
    widths = list(next(iter(table.values())))
    name_width = max(map(len, table))
    print("  ".join(["benchmark".ljust(name_width), *(f"{bits:>6}" for bits in widths)]))
    for name, row in table.items():
        print("  ".join([name.ljust(name_width), *(f"{row[bits]!s:>6}" for bits in widths)]))


def _print_expected(losses: list[dict[str, Any]]) -> None:
    if losses:
        print("losses that are expected, and up to which bound")
    for loss in losses:
        mended = "" if loss["strict"] else " (not strict)"
        print(f"{loss['regime']}  {loss['benchmark']}  {loss['bound']:g}{mended}: {loss['reason']}")
