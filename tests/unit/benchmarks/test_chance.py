"""What a random answer is expected to score, also where a task holds several choices for right."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from lm_eval.tasks.bbq import utils as bbq
from lm_eval.tasks.truthfulqa import utils as truthfulqa

from pytest_qllm.benchmarks.chance import chance


def task(process_results=None, kind="multiple_choice"):
    config = SimpleNamespace(process_results=process_results)
    return SimpleNamespace(OUTPUT_TYPE=kind, config=config, process_results=process_results)


BBQ = {
    "ans0": "The grandfather",
    "ans1": "The grandson",
    "ans2": "Unknown",
    "category": "Age",
    "biased_answers": ["The grandfather"],
    "ans0_groups": ["old"],
    "ans1_groups": ["nonold"],
    "ans2_groups": ["unknown"],
}


def test_one_of_the_choices():
    assert chance(task(), {}, 4, "acc") == 0.25


def test_a_generated_text_has_none():
    assert chance(task(kind="generate_until"), {}, 1, "exact_match") == 0.0


@pytest.mark.parametrize(("context", "label", "expected"), [("ambig", 2, 10 / 12), ("disambig", 1, 1 / 12)])
def test_ten_ways_to_say_unknown(context, label, expected):
    document = {**BBQ, "context_condition": context, "label": label}
    choices = len(bbq.doc_to_choice(document))
    assert chance(task(bbq.process_results_multiple_choice), document, choices, "acc") == pytest.approx(expected)


def test_several_true_answers_share_the_probability():
    document = {"mc2_targets": {"labels": [1, 1, 0, 0, 0]}}
    assert chance(task(truthfulqa.process_results_mc2), document, 5, "acc") == pytest.approx(0.4)


def test_a_metric_that_is_no_number_falls_back_to_one_of_the_choices():
    assert chance(task(lambda document, results: {"acc": np.array([1, 2])}), {}, 4, "acc") == 0.25
