"""From per-item scores to what the statistics take."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.measurement import ItemScore, Measurement

RIGHT = ItemScore("a", 0, {"acc": 1.0, "acc_norm": 0.0}, [-1.5, -9.0], [2, 5], chance=0.5)
WRONG = ItemScore("b", 1, {"acc": 0.0, "acc_norm": 0.0}, [-8.0, -0.5], [3, 4], chance=0.25)
STORY = ItemScore("c", None, {"perplexity": -300.0}, [-300.0], [120])


def measured(*items: ItemScore) -> Measurement:
    return Measurement("bnb-nf4", "piqa", items)


def test_a_sample_has_one_score_for_each_item_in_order():
    sample = measured(RIGHT, WRONG).sample("acc")
    assert sample.ids == ("a", "b")
    assert sample.scores.tolist() == [1.0, 0.0]
    assert sample.weights.tolist() == [1.0, 1.0]
    assert sample.chance.tolist() == [0.5, 0.25]
    assert {array.dtype for array in (sample.scores, sample.weights, sample.chance)} == {np.dtype(np.float64)}


def test_a_perplexity_is_weighted_by_its_scored_tokens():
    windows = replace(STORY, id="d", tokens=[100, 20, 3])
    assert measured(STORY, windows).sample("perplexity").weights.tolist() == [120.0, 123.0]


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        ((None, None, None), None),
        (("law", "art", "law"), ("law", "art", "law")),
        (("law", "art", "law", None), ("law", "art", "law", "3")),
        (("law", "art", "bio"), None),
        (("law", None, "art"), None),
    ],
)
def test_clusters_are_told_only_where_two_items_share_one(clusters, expected):
    items = [replace(RIGHT, id=str(at), cluster=cluster) for at, cluster in enumerate(clusters)]
    assert measured(*items).sample("acc").clusters == expected


def test_an_unknown_metric_is_refused_with_those_that_were_measured():
    with pytest.raises(QllmError) as refused:
        measured(RIGHT, WRONG).sample("exact_match")
    assert str(refused.value) == "piqa has no metric 'exact_match'; measured: acc, acc_norm"


def test_a_metric_that_one_item_lacks_is_refused():
    with pytest.raises(QllmError, match="no metric 'acc'; measured: perplexity"):
        measured(RIGHT, STORY).sample("acc")


def test_no_items_give_an_empty_sample_which_no_verdict_takes():
    assert measured().sample("acc").ids == ()


@pytest.mark.parametrize("item", [RIGHT, WRONG, STORY, replace(RIGHT, answer="a text", cluster="law")])
def test_a_score_comes_back_from_the_store_as_it_was(item):
    assert ItemScore(**json.loads(json.dumps(item.to_json()))) == item


def test_is_frozen():
    with pytest.raises(AttributeError):
        RIGHT.answer = 1
