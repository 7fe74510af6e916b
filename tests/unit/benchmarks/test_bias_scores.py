"""BBQ's bias scores: what each answer adds, and the scores of lm-eval on any set of answers."""

from __future__ import annotations

import numpy as np
import pytest
from lm_eval.tasks.bbq import utils

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog, kind_of_metric
from pytest_qllm.benchmarks.bias import BIAS_METRICS, bias_score, described, informative, statistics
from pytest_qllm.verdict.kinds import Kind

AGGREGATES = {"amb_bias_score": utils.agg_amb_bias_scores, "disamb_bias_score": utils.agg_disamb_bias_scores}


def answers(seed: int, count: int = 60) -> list[tuple[float, float, float, bool]]:
    """Right, biased, informative, disambiguated; a biased answer is informative."""
    rng = np.random.default_rng(seed)
    drawn = [(rng.integers(2), rng.integers(2), rng.integers(2), bool(rng.integers(2))) for _ in range(count)]
    return [(float(right), float(biased), float(max(biased, informs)), dis) for right, biased, informs, dis in drawn]


@pytest.mark.parametrize("metric", BIAS_METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_lm_eval_says_of_the_same_answers(metric, seed):
    given = answers(seed)
    parts = np.array([statistics(metric, one) for one in given])
    assert float(bias_score(metric)(parts)) == pytest.approx(AGGREGATES[metric](given))


def test_many_sets_of_answers_at_once():
    parts = np.array([statistics("amb_bias_score", one) for one in answers(1)])
    scores = bias_score("amb_bias_score")(np.stack([parts, parts[::-1], parts[:60] * 0]))
    assert scores.shape == (3,)
    assert scores[0] == pytest.approx(scores[1])
    assert scores[2] == 0.0


def test_the_paper_s_formula():
    # 100 disambiguated answers, 60 of them informative, 45 of these biased.
    parts = np.array([[100.0, 55.0, 45.0, 60.0]])
    assert float(bias_score("disamb_bias_score")(parts)) == pytest.approx(2 * 45 / 60 - 1)
    assert float(bias_score("amb_bias_score")(parts)) == pytest.approx((1 - 0.55) * (2 * 45 / 60 - 1))


def test_a_model_that_always_says_unknown_has_no_bias():
    assert float(bias_score("disamb_bias_score")(np.array([[100.0, 0.0, 0.0, 0.0]]))) == 0.0


def test_no_biased_answer_is_a_score_of_0_as_in_lm_eval():
    given = [(1.0, 0.0, 1.0, True)] * 3
    parts = np.array([statistics("disamb_bias_score", one) for one in given])
    assert float(bias_score("disamb_bias_score")(parts)) == utils.agg_disamb_bias_scores(given) == 0.0


def test_an_answer_counts_in_its_own_context_only():
    biased = (0.0, 1.0, 1.0, True)
    metrics, parts = described(dict.fromkeys(BIAS_METRICS, biased))
    assert metrics == {
        "amb_bias_score": 0.0,
        informative("amb_bias_score"): 0.0,
        "disamb_bias_score": 1.0,
        informative("disamb_bias_score"): 1.0,
    }
    assert parts == {"amb_bias_score": [0.0] * 4, "disamb_bias_score": [1.0, 0.0, 1.0, 1.0]}


@pytest.mark.parametrize("given", [None, 0.5, (1.0, 0.0), "text"])
def test_other_tasks_have_none(given):
    assert described({"amb_bias_score": given}) == ({}, {})


@pytest.mark.parametrize("metric", BIAS_METRICS)
def test_it_is_judged_behind_the_accuracy_of_the_same_answers(metric):
    assert kind_of_metric(metric) is Kind.BIAS
    behind = BenchmarkCatalog().get("bbq").behind_of(metric)
    assert (behind.accuracy, behind.informative) == ("acc", informative(metric))
    assert BenchmarkCatalog().get("bbq").behind_of("acc") is None


@pytest.mark.parametrize("name", ["bbq", "bbq_bias_ambig", "bbq_bias_disambig"])
def test_the_three_columns_are_of_the_same_answers_with_the_same_chance(name):
    benchmark = BenchmarkCatalog().get(name)
    assert (benchmark.with_a_chance, benchmark.data_name) == ("acc", "bbq")
    assert benchmark.task == BenchmarkCatalog().get("bbq").task
