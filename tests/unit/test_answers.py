"""Items and measurements as a reader sees them."""

from __future__ import annotations

from pytest_qllm.answers import asked_of, texts_of
from pytest_qllm.benchmarks.lm_eval import Item
from pytest_qllm.measurement import ItemScore, Measurement


def item(kind: str, *requests: tuple[object, ...], shared: int = 0, target: int | str | None = None) -> Item:
    return Item("id", kind, {}, requests, 0.0, "", shared, target)


def measured(score: ItemScore) -> Measurement:
    return Measurement("mine", "piqa", (score,))


def test_the_shots_are_apart() -> None:
    found = asked_of(item("multiple_choice", ("Shots. Q?", " yes"), ("Shots. Q?", " no"), shared=7, target=1))
    assert (found.beginning, found.prompt, found.choices, found.target) == ("Shots. ", "Q?", [" yes", " no"], 1)


def test_choices_that_have_a_context_each_begin_where_those_part() -> None:
    contexts = ("The cup is on the table because the table", "The cup is on the table because the tablet")
    found = asked_of(item("multiple_choice", *((context, " was flat.") for context in contexts)))
    assert found.prompt == "The cup is on the table because the "
    assert found.choices == ["table was flat.", "tablet was flat."]


def test_a_generation_and_a_text_have_no_choices() -> None:
    assert asked_of(item("generate_until", ("Q?", {"until": []}), target="42")).target == "42"
    text = asked_of(item("loglikelihood_rolling", ("Once upon a time",)))
    assert (text.prompt, text.choices, text.target) == ("Once upon a time", (), None)


def test_the_answer_is_the_one_that_the_metric_rests_on() -> None:
    asked = item("multiple_choice", ("Q?", " a"), ("Q?", " a long one"))
    score = ItemScore("id", 0, {"acc": 1.0, "acc_norm": 0.0}, [-2.0, -4.0], [1, 3])
    answers = {metric: texts_of([asked], metric, measured(score)).baseline[0].answer for metric in score.metrics}
    assert answers == {"acc": 0, "acc_norm": 1}


def test_requests_without_a_context_are_no_choices() -> None:
    asked = item("multiple_choice", ("Q?", " a"), ("Q?", " b"), ("", " a"), ("", " b"))
    score = ItemScore("id", 0, {"acc": 1.0}, [-3.0, -2.0, -1.0, -4.0], [1, 1, 1, 1])
    found = texts_of([asked], "acc", measured(score), measured(score))
    assert found.asked[0].choices == [" a", " b"]
    assert (found.candidate[0].answer, found.candidate[0].likelihoods) == (1, [-3.0, -2.0])


def test_whether_the_one_continuation_would_be_said() -> None:
    asked = item("loglikelihood", ("I see a", " dog"))
    found = texts_of([asked], "acc", measured(ItemScore("id", 1, {"acc": 1.0}, [-0.5], [1])))
    assert (found.asked[0].choices, found.baseline[0].answer) == ([" dog"], 1)
    assert found.candidate == []
