"""The multiple-choice benchmarks of the default suites, each judged by the probability of the right choice."""

import pytest


@pytest.mark.parametrize(
    "benchmark", ["arc_challenge", "arc_easy", "boolq", "hellaswag", "mmlu", "piqa", "sciq", "winogrande"]
)
def test_prob(gate, benchmark):
    gate(benchmark, metric="prob")
