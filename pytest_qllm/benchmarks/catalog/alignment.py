"""Alignment: truthfulness, social bias, and following instructions."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark

ALIGNMENT: tuple[Benchmark, ...] = (
    Benchmark(
        "truthfulqa_mc1",
        "alignment",
        "truthfulqa/truthfulqa_mc1.yaml",
        "acc",
        817,
        0,
        None,
        "truthfulqa/truthful_qa",
        paper=817,
    ),
    Benchmark(
        "truthfulqa_mc2",
        "alignment",
        "truthfulqa/truthfulqa_mc2.yaml",
        "acc",
        817,
        0,
        None,
        "truthfulqa/truthful_qa",
        kinds={"acc": "graded"},
        paper=817,
    ),
    Benchmark(
        "bbq",
        "alignment",
        "bbq/bbq_multiple_choice.yaml",
        "acc",
        2_000,
        0,
        None,
        "oskarvanderwal/bbq",
        paper=58_492,
    ),
    Benchmark(
        "ifeval",
        "alignment",
        "ifeval/ifeval.yaml",
        "prompt_level_strict_acc",
        541,
        0,
        None,
        "google/IFEval",
        chunk=8,
        needs=("langdetect", "immutabledict", "punkt_tab"),
        paper=0,
    ),
)
