"""Benchmarks by name: which tolerances hold for each, and how many items it measures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog, kind_of_metric
from pytest_qllm.benchmarks.catalog import BUILTIN
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.tolerance import DEFAULTS
from pytest_qllm.verdict.verdict import Scale

PIQA = BenchmarkCatalog().get("piqa")


def test_every_built_in_benchmark_has_tolerances_without_a_word_of_the_user():
    kinds = {benchmark.name: benchmark.kind for benchmark in BUILTIN}
    named = {kind: {name for name, one in kinds.items() if one == kind} for kind in kinds.values()}
    assert set(named) == set(DEFAULTS) - {"prob", "pooled", "pooled_perplexity"}
    assert named["perplexity"] == {"story_perplexity", "wikitext2", "c4", "ptb"}
    assert named["graded"] == {"cnn_dailymail", "xsum", "truthfulqa_mc2"}
    assert named["judged"] == {"mt_bench"}
    assert named["corpus"] == {"flores_en_zh", "flores_zh_en"}
    assert named["bias"] == {"bbq_bias_ambig", "bbq_bias_disambig"}


def test_the_paper_s_ten_benchmarks_are_measured_in_full():
    full = {benchmark.name: benchmark.paper for benchmark in BUILTIN if benchmark.paper}
    assert {
        name: full[name] for name in ("mmlu", "ceval", "flores_en_zh", "cnn_dailymail", "xsum", "gsm8k_zeroshot")
    } == {
        "mmlu": 14_042,
        "ceval": 1_346,
        "flores_en_zh": 1_012,
        "cnn_dailymail": 11_490,
        "xsum": 11_334,
        "gsm8k_zeroshot": 1_319,
    }
    assert {"snli", "truthfulqa_mc1", "bbq"} <= set(full)
    assert not {"arc_easy", "hellaswag", "ifeval", "bbh", "gsm8k"} & set(full)


def test_every_built_in_benchmark_has_a_suite_file_of_its_own():
    files = Path(__file__).parents[3].glob("suites/*/test_*.py")
    asked = {name for file in files for name in re.findall(r'gate\("(\w+)"', file.read_text())}
    assert {benchmark.name for benchmark in BUILTIN} <= asked


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
        ("bleu_zh", "corpus", "corpus"),
        ("amb_bias_score", "bias", "bias"),
    ],
)
def test_statistics_and_tolerances_go_by_the_metric_that_is_asked_for(metric, kind, table):
    assert (kind_of_metric(metric), PIQA.table_of(metric)) == (kind, table)


def test_a_benchmark_may_declare_what_its_metric_is():
    benchmark = replace(PIQA, metric="score", kinds={"score": "mean"})
    assert (benchmark.kind, benchmark.kind_of("score"), benchmark.kind_of("acc")) == ("mean", "mean", "accuracy")


@pytest.mark.parametrize("kind", ["corpus", "bias", "perplexity", "cost", "accurate"])
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
    assert 0 <= benchmark.quick <= benchmark.items


@pytest.mark.parametrize("benchmark", BUILTIN, ids=lambda benchmark: benchmark.name)
def test_the_list_says_how_many_items_for_whom(benchmark):
    shown = json.loads(json.dumps(benchmark.describe()))
    assert (shown["items"], shown["items_builtin_model"]) == (benchmark.items, benchmark.quick)
    assert shown["source"].startswith(("wheel ", "hub "))


def test_without_a_wheel_the_hub_is_the_source():
    assert replace(PIQA, name="mine", hub="baber/piqa").describe()["source"] == "hub baber/piqa"
    assert replace(PIQA, data="snli").describe()["source"] == "hub stanfordnlp/snli@cdb5c3d5eed6"


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
