"""Which items belong together: fields of their documents name it, within a subset, and every score carries it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("lm_eval")

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark
from pytest_qllm.engine.engine import Generated, Scored
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

DOCUMENTS = [
    {"text": f"text {at}", "answer": "yes", "about": at % 3, "template": ["a", "b"][at % 2], "free": at or None}
    for at in range(6)
]
KINDS = {
    "multiple_choice": {"doc_to_choice": ["yes", "no"], "doc_to_target": 0, "metric_list": [{"metric": "acc"}]},
    "loglikelihood": {"doc_to_target": "{{answer}}", "metric_list": [{"metric": "acc"}]},
    "loglikelihood_rolling": {"doc_to_target": "{{text}}", "metric_list": [{"metric": "word_perplexity"}]},
    "generate_until": {"doc_to_target": "{{answer}}", "metric_list": [{"metric": "exact_match"}]},
}


class Certain:
    """Answers everything alike."""

    def continuations(self, items):
        return [[Scored(-1.0 - at, False, 1) for at, _ in enumerate(one)] for one in items]

    def rolling(self, texts):
        return [Scored(-9.0, False, 3) for _ in texts]

    def generations(self, requests):
        return [Generated("yes", 1, hit_limit=False) for _ in requests]


@pytest.fixture
def make(tmp_path):
    def made(cluster, kind="multiple_choice", subsets=()):
        for subset in subsets or ("",):
            file = tmp_path / "data/texts" / subset / "test.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(json.dumps({**one, "of": subset}) for one in DOCUMENTS))
        task = {"task": "texts", "dataset_path": "json", "test_split": "test", "output_type": kind}
        (tmp_path / "texts.yaml").write_text(json.dumps({**task, "doc_to_text": "{{text}}", **KINDS[kind]}))
        found = Benchmark("texts", "mine", f"{tmp_path}/texts.yaml", "acc", 9, 9, None, "", subsets=subsets)
        return LmEvalBenchmark(
            replace(found, cluster=cluster), DataSource(str(tmp_path / "data"), Store(tmp_path / "cache")), 0
        )

    return made


def clusters(benchmark, store):
    return {item.document["text"]: item.cluster for item in benchmark.items(6, store)}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_is_named_by_the_values_of_its_fields(make, store):
    found = clusters(make(("about", "template")), store)
    assert found["text 1"] == "1 / b"
    assert len(set(found.values())) == 6
    assert sorted(clusters(make(("about",)), store).values()) == ["0", "0", "1", "1", "2", "2"]  # not what was stored


def test_an_item_without_any_is_its_own(make, store):
    assert set(clusters(make(()), store).values()) == {None}
    assert clusters(make(("free",)), store)["text 0"] is None


def test_is_never_of_two_subsets(make, store):
    items = make(("about",), subsets=("old", "new")).items(12, store)
    assert {item.cluster for item in items} == {f"{subset} / {at}" for subset in ("old", "new") for at in range(3)}
    items = make(("{subset}",), subsets=("old", "new")).items(12, store)
    assert {(item.subset, item.cluster) for item in items} == {("old", "old"), ("new", "new")}


@pytest.mark.parametrize("kind", KINDS)
def test_goes_with_every_kind_of_score(make, store, kind):
    benchmark = make(("about",), kind)
    items = benchmark.items(6, store)
    assert [score.cluster for score in benchmark.score(items, Certain())] == [item.cluster for item in items]
    assert {item.cluster for item in items} == {"0", "1", "2"}


def test_a_field_that_is_not_there_is_told(make, store):
    with pytest.raises(QllmError, match="has no field 'topic', which names its cluster; fields: text, answer"):
        make(("topic",)).items(6, store)


def test_a_word_is_no_tuple_of_fields(make):
    with pytest.raises(QllmError, match=r"texts: cluster is 'about'; expected a tuple of fields: \('about',\)"):
        make("about")
