"""Which choice is right, and that its probability is left out where there is no single one."""

from __future__ import annotations

from math import log
from types import SimpleNamespace

import pytest

from pytest_qllm.benchmarks.graded import graded, right_choice


def task(target, *, text="Q", choices=("yes", "no", "both"), several=0, inputs=0, scores=None):
    return SimpleNamespace(
        config=SimpleNamespace(process_results=scores),
        multiple_target=several,
        multiple_input=inputs,
        doc_to_choice=lambda _: list(choices),
        doc_to_target=lambda _: target,
        doc_to_text=lambda _: text,
    )


@pytest.mark.parametrize(
    ("made", "right"),
    [
        (task(1), 1),
        (task("no"), 1),
        (task("neither"), None),
        (task(7), None),
        (task(-100), None),
        (task("Q", text=2, inputs=3), 2),
        (task([0, 1], several=2), None),
        (task([0, 1]), None),
        (task(0, scores=lambda document, results: {}), None),
    ],
    ids=["index", "text", "no choice", "out of range", "unknown", "in the context", "several", "a list", "its own"],
)
def test_the_right_choice(made, right):
    assert right_choice(made, {}) == right


def test_prob_is_the_share_of_the_right_choice():
    assert graded(task(1), {}, [log(0.1), log(0.3), log(0.2)])["prob"] == pytest.approx(0.5)


def test_what_is_asked_beside_the_choices_does_not_count():
    assert graded(task(0), {}, [log(0.1), log(0.3), log(0.1), -1.0, -2.0, -3.0])["prob"] == pytest.approx(0.2)


@pytest.mark.parametrize("made", [task([0, 1], several=2), task(0, choices=("yes",))])
def test_there_is_none_without_a_single_right_one_among_several(made):
    assert graded(made, {}, [-1.0, -2.0, -3.0]) == {}
