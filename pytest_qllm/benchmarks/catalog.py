"""The benchmarks that can be chosen by name, with the number of items that a test spends on each."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import subsets

BUILTIN: tuple[Benchmark, ...] = (
    Benchmark("arc_easy", "knowledge", "arc/arc_easy.yaml", "acc", 570, 570),
    Benchmark("arc_challenge", "knowledge", "arc/arc_challenge.yaml", "acc_norm", 299, 40),
    Benchmark("hellaswag", "knowledge", "hellaswag/hellaswag.yaml", "acc_norm", 500, 40),
    Benchmark("piqa", "knowledge", "piqa/piqa.yaml", "acc", 500, 40),
    Benchmark("winogrande", "knowledge", "winogrande/default.yaml", "acc", 500, 40),
    Benchmark("boolq", "knowledge", "super_glue/boolq/default.yaml", "acc", 500, 40),
    Benchmark("sciq", "knowledge", "sciq/sciq.yaml", "acc", 500, 160),
    Benchmark("mmlu", "knowledge", "mmlu/default/mmlu_{subset}.yaml", "acc", 500, 40, subsets=subsets.MMLU),
    Benchmark("gsm8k", "knowledge", "gsm8k/gsm8k-cot.yaml", "exact_match,strict-match", 200, 8, chunk=8),
    Benchmark("lambada", "language", "lambada/lambada_openai.yaml", "acc", 500, 120),
    Benchmark("story_perplexity", "language", "qllm:story_perplexity.yaml", "perplexity", 100, 40, chunk=8),
)
