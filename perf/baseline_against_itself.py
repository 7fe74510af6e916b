"""The baseline against itself: scored again in other batches, and judged as a regime of each width would be.

    python perf/baseline_against_itself.py --store DIR --json FILE      # 20 minutes on a core; less with a full store

For each benchmark of the default suites (and for ``prob`` where there are choices) the built-in model is measured
twice: in the batches of a normal run, and as a "regime" that is the same model in batches of another layout, with the
items in the reverse order. No verdict may be FAIL, and none INCONCLUSIVE that the plan called decidable; the exit
status says so.
Rounding depends on the batch: in float32 a log-likelihood moves by some 1e-5, in bfloat16 by tenths.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from pytest_qllm import plan as plans
from pytest_qllm.benchmarks.benchmark import Benchmark, BenchmarkCatalog
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.compute import choose
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.errors import QllmError
from pytest_qllm.gate import Gate, Question
from pytest_qllm.measure import Laboratory
from pytest_qllm.measurement import ItemScore
from pytest_qllm.models import source
from pytest_qllm.models.loader import load_dense
from pytest_qllm.options import cache_directory
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.record import Record
from pytest_qllm.store import Store
from pytest_qllm.verdict.tolerance import DEFAULTS, Tolerances
from pytest_qllm.workshop import BASELINE

CHOICES = ("acc", "acc_norm")


class Itself(Regime):
    """The baseline as a regime of some width; all widths are one measurement."""

    def recipe(self) -> dict[str, Any]:
        return {"backend": self.backend}


class Same:
    """A backend that quantizes nothing: it only remembers which model it was given."""

    @staticmethod
    def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
        (into / "model").write_text(str(model))

    @staticmethod
    def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
        return load_dense(Path((artifact / "model").read_text()), dtype, device)

    dense = load


class Twice(Laboratory):
    """A laboratory that scores every regime in other batches than the baseline."""

    def _score(self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item]) -> list[ItemScore]:
        if regime.is_baseline:
            return super()._score(regime, benchmark, key, items)
        with cast(TorchEngine, self.engine(regime, items)).other_batches():
            if items[0].output_type == "loglikelihood_rolling":  # whose comparison with the baseline goes by order
                return super()._score(regime, benchmark, key, items)
            return super()._score(regime, benchmark, key, items[::-1])[::-1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="baselines that it has are not measured again")
    parser.add_argument("--benchmarks", default="", help="names, separated by commas (default: all)")
    parser.add_argument("--items", type=int, default=0, help="at most, of each benchmark")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cache = Store(cache_directory())
    laboratory = Twice(
        lambda: source.resolve(source.DEFAULT, cache),
        DataSource("auto", cache),
        choose(given.dtype, "auto", 1),
        0,
        Store(given.store),
    )
    gate = Gate(laboratory, BASELINE, source.DEFAULT)
    asked = [one.name for one in BenchmarkCatalog() if one.quick]  # what the built-in model is asked by default
    names = given.benchmarks.split(",") if given.benchmarks else asked
    rows: list[dict[str, Any]] = []
    print(f"{laboratory.compute.dtype} on {laboratory.compute.device}", flush=True)
    print(f"{'benchmark':17} {'metric':24} bits  tolerance  {'n':>4} of  flips  {'effect':>9}  plan  outcome")
    for name in names:
        for row in judged(gate, BenchmarkCatalog().get(name), given.items):
            rows.append(row)
            print(line(row), flush=True)
    wrong = [row for row in rows if row["wrong"]]
    print(f"{len(rows)} tests, {len(wrong)} wrong: FAIL, or INCONCLUSIVE where the plan said decidable")
    if given.json:
        given.json.write_text(json.dumps({"dtype": laboratory.compute.dtype, "rows": rows}, indent=1) + "\n")
    return 1 if wrong else 0


def judged(gate: Gate, benchmark: Benchmark, most: int) -> Iterator[dict[str, Any]]:
    """Rows of a benchmark, by metric and width."""
    count = min(benchmark.quick, most or benchmark.quick)
    tolerances = Tolerances(DEFAULTS)
    for metric in (benchmark.metric, *([PROB] if benchmark.metric in CHOICES and benchmark.name != "lambada" else [])):
        for bits in DEFAULTS["accuracy"]:
            tolerance = tolerances.of(
                benchmark.name, benchmark.table_of(metric), bits, own=metric == benchmark.metric
            ).value
            question = Question(benchmark, metric, count, tolerance)
            try:
                record = gate.ask(
                    question, Itself(f"again-{bits}bit", "the same model", bits, f"{Path(__file__).stem}:Same")
                )
            except QllmError as error:
                raise SystemExit(f"{benchmark.name}: {error}") from error
            yield row_of(record, question, bits)


def row_of(record: Record, question: Question, bits: int) -> dict[str, Any]:
    is_known = plans.is_known(question.kind, relative=False)
    decidable = not record.undecidable if is_known else None
    wrong = record.outcome == "FAIL" or (record.outcome == "INCONCLUSIVE" and decidable is True)
    return {
        "benchmark": record.benchmark,
        "metric": record.metric,
        "bits": bits,
        "tolerance": record.tolerance,
        "n": record.n,
        "planned": record.planned,
        "flips": None if record.broken is None else record.broken + (record.mended or 0),
        "effect": record.effect,
        "noise": record.noise["largest"] if record.noise else None,
        "decidable": decidable,
        "outcome": record.outcome,
        "reason": record.reason,
        "fixed": record.fixed,
        "wrong": wrong,
    }


def line(row: dict[str, Any]) -> str:
    flips = "-" if row["flips"] is None else row["flips"]
    effect = "-" if row["effect"] is None else f"{row['effect']:.2g}"
    plan = {None: "?", True: "yes", False: "no"}[row["decidable"]]
    return (
        f"{row['benchmark']:17} {row['metric']:24} {row['bits']:4}  {row['tolerance']:9g}  {row['n']:4}"
        f" {row['planned']:3}  {flips!s:>4}  {effect:>9}  {plan:4}  {row['outcome']}"
    )


if __name__ == "__main__":
    sys.exit(main())
