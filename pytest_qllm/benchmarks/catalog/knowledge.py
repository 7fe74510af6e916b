"""Knowledge and capacity: what a model knows, and how it reasons, translates and summarizes."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import subsets

_DIMENSION = "knowledge"

KNOWLEDGE: tuple[Benchmark, ...] = (
    Benchmark("arc_easy", _DIMENSION, "arc/arc_easy.yaml", "acc", 570, 570, paper=0),
    Benchmark("arc_challenge", _DIMENSION, "arc/arc_challenge.yaml", "acc_norm", 299, 40, paper=0),
    Benchmark("hellaswag", _DIMENSION, "hellaswag/hellaswag.yaml", "acc_norm", 500, 40, paper=0),
    Benchmark("piqa", _DIMENSION, "piqa/piqa.yaml", "acc", 500, 40, paper=0),
    Benchmark("winogrande", _DIMENSION, "winogrande/default.yaml", "acc", 500, 40, paper=0),
    Benchmark("boolq", _DIMENSION, "super_glue/boolq/default.yaml", "acc", 500, 40, paper=0),
    Benchmark("sciq", _DIMENSION, "sciq/sciq.yaml", "acc", 500, 160, paper=0),
    Benchmark(
        "mmlu",
        _DIMENSION,
        "mmlu/default/mmlu_{subset}.yaml",
        "acc",
        500,
        20,
        subsets=subsets.MMLU,
        shots=5,
        paper=14_042,
    ),
    Benchmark(
        "ceval",
        _DIMENSION,
        "ceval/ceval-valid_{subset}.yaml",
        "acc",
        500,
        0,
        subsets=subsets.CEVAL,
        paper=1_346,
    ),
    Benchmark(
        "gsm8k",
        _DIMENSION,
        "gsm8k/gsm8k-cot.yaml",
        "exact_match,strict-match",
        200,
        8,
        chunk=8,
        paper=0,
    ),
    Benchmark(
        "gsm8k_zeroshot",
        _DIMENSION,
        "gsm8k/gsm8k-cot-zeroshot.yaml",
        "exact_match,flexible-extract",
        200,
        0,
        data="gsm8k",
        chunk=8,
        chat=True,
        paper=1_319,
    ),
    Benchmark(
        "bbh",
        _DIMENSION,
        "bbh/cot_fewshot/{subset}.yaml",
        "exact_match,get-answer",
        200,
        0,
        chunk=8,
        subsets=subsets.BBH,
        paper=0,
    ),
    Benchmark("snli", _DIMENSION, "qllm:snli.yaml", "acc", 500, 0, chat=True, paper=10_000),
    Benchmark(
        "flores_en_zh",
        _DIMENSION,
        "qllm:flores_en_zh.yaml",
        "bleu_zh",
        300,
        0,
        data="flores200",
        chunk=20,
        chat=True,
        paper=1_012,
    ),
    Benchmark(
        "flores_zh_en",
        _DIMENSION,
        "qllm:flores_zh_en.yaml",
        "bleu",
        300,
        0,
        data="flores200",
        chunk=20,
        chat=True,
        paper=1_012,
    ),
    Benchmark(
        "cnn_dailymail", _DIMENSION, "qllm:cnn_dailymail.yaml", "rougeL", 200, 0, chunk=8, chat=True, paper=11_490
    ),
    Benchmark("xsum", _DIMENSION, "qllm:xsum.yaml", "rougeL", 200, 0, chunk=8, chat=True, paper=11_334),
)
