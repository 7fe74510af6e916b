"""BLEU and chrF from the statistics of single items: the scores of lm-eval, on any set of items."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from lm_eval.api.registry import get_aggregation

from pytest_qllm.benchmarks.corpus import CORPUS_METRICS, corpus_metric, statistics

PAIRS = [
    ("the boats leave before sunrise", "the boats leave before the sun rises"),
    ("on sundays the square stays empty until noon", "the square is empty on sundays"),
    ("the market opens at seven o'clock", "the market opens at seven"),
    ("nobody knows", "a river runs between two hills"),
    ("the harbour lies between two hills", "the harbour lies between two hills"),
]


@pytest.mark.parametrize("metric", CORPUS_METRICS)
@pytest.mark.parametrize("items", [range(5), [4], [0, 2], [1, 1, 4], [3]])
def test_it_is_what_lm_eval_says_of_the_same_items(metric, items):
    pairs = [list(PAIRS[at]) for at in items]
    parts = np.array([statistics(metric, pair) for pair in pairs])
    assert corpus_metric(metric)(parts) == pytest.approx(get_aggregation(metric)(pairs) / 100, abs=1e-12)


def test_chinese_has_a_tokenizer_of_its_own():
    pairs = [("今天天气很好。", "今天天气不错。"), ("我喜欢读书。", "我喜欢读书。")]
    parts = np.array([statistics("bleu_zh", pair) for pair in pairs])
    expected = sacrebleu.corpus_bleu([made for _, made in pairs], [[right for right, _ in pairs]], tokenize="zh").score
    assert corpus_metric("bleu_zh")(parts) == pytest.approx(expected / 100, abs=1e-12)
    assert expected > 50 > sacrebleu.corpus_bleu([made for _, made in pairs], [[right for right, _ in pairs]]).score


@pytest.mark.parametrize("metric", CORPUS_METRICS)
def test_many_corpora_at_once(metric):
    parts = np.array([statistics(metric, pair) for pair in PAIRS])
    index = np.random.default_rng(0).integers(0, len(PAIRS), (2, 3, len(PAIRS)))
    scores = corpus_metric(metric)(parts[index])
    assert scores.shape == (2, 3)
    assert scores[1, 2] == pytest.approx(float(corpus_metric(metric)(parts[index[1, 2]])))


@pytest.mark.parametrize("metric", CORPUS_METRICS)
def test_several_references_and_a_list_of_one_prediction(metric):
    given = ([["boats at dawn", "the boats leave at dawn"], ["the boats leave at dawn"]],)
    assert corpus_metric(metric)(np.array([statistics(metric, given[0])])) == pytest.approx(1.0)


@pytest.mark.parametrize("given", [None, 1.0, "text", [], ["one"], ["one", "two", "three"]])
def test_a_score_that_the_task_made_itself_has_no_statistics(given):
    assert statistics("bleu", given) is None
