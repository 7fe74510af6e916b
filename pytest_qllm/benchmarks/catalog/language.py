"""Language modelling: the next word, and the perplexity of whole texts."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark

_DIMENSION = "language"

LANGUAGE: tuple[Benchmark, ...] = (
    Benchmark("lambada", _DIMENSION, "lambada/lambada_openai.yaml", "acc", 500, 120, paper=0),
    Benchmark("story_perplexity", _DIMENSION, "qllm:story_perplexity.yaml", "perplexity", 100, 40, chunk=4, paper=0),
    Benchmark("wikitext2", _DIMENSION, "wikitext/wikitext.yaml", "perplexity", 62, 0, chunk=4, paper=62),
    Benchmark("c4", _DIMENSION, "c4/c4.yaml", "perplexity", 100, 0, chunk=4, paper=1_000),
    Benchmark("ptb", _DIMENSION, "qllm:ptb.yaml", "perplexity", 100, 0, chunk=4, paper=1_000),
)
