"""Dialogue: what the judge of a turn is told, and which grades it can give."""

from __future__ import annotations

import pytest

from pytest_qllm.benchmarks.dialogue import grade, question
from pytest_qllm.benchmarks.tasks.mt_bench.utils import document

TALK = {"turns": ["What is a fjord?", "And a firth?"], "reference": []}


def test_the_first_turn_stands_alone():
    prompt = question(TALK, 0, ["A deep inlet."]).prompt
    assert "[Question]\nWhat is a fjord?" in prompt
    assert "[Answer]\nA deep inlet." in prompt
    assert "firth" not in prompt
    assert "Reference" not in prompt


def test_a_later_turn_comes_with_what_was_said_before():
    prompt = question(TALK, 1, ["A deep inlet.", "The Scottish one."]).prompt
    assert prompt.index("[Earlier question]\nWhat is a fjord?") < prompt.index("[Earlier answer]\nA deep inlet.")
    assert prompt.index("[Earlier answer]") < prompt.index("[Question]\nAnd a firth?")
    assert prompt.index("[Question]") < prompt.index("[Answer]\nThe Scottish one.")


def test_a_reference_goes_with_its_turn():
    talk = {**TALK, "reference": ["an inlet", "an estuary"]}
    assert "an estuary" in question(talk, 1, ["a", "b"]).prompt
    assert "an estuary" not in question(talk, 0, ["a"]).prompt


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Good.\nGrade: [[7]]", 7),
        ("Grade: [[ 7.5 ]].", 7.5),
        ("Grade: [[10]]\n\n", 10),
        ("Grade: [[11]]", None),
        ("Grade: [[0]]", None),
        ("Grade: 7", None),
        ("Grade: [[7]] or [[8]]", None),
        ("Grade: [[7]]\nShall I go on?", None),
        ("", None),
    ],
)
def test_a_grade_is_in_the_last_line(text, found):
    assert grade(text) == found


def test_documents_of_either_form():
    authors = {"question_id": 81, "category": "writing", "turns": ["a", "b"]}
    hub = {"prompt_id": 81, "category": "writing", "prompt": ["a", "b"], "reference": []}
    assert document(authors) == document(hub)
    assert document(authors)["turns"] == ["a", "b"]
