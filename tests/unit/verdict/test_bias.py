"""When a bias score may be gated: never for a candidate that has lost its accuracy, or on few answers."""

from __future__ import annotations

import pytest

from pytest_qllm.verdict.bias import MIN_INFORMATIVE, bias_hindrance
from pytest_qllm.verdict.verdict import Outcome, Verdict


def test_a_kept_accuracy_and_enough_answers():
    assert bias_hindrance(Verdict(Outcome.PASS, 0.03, None), MIN_INFORMATIVE, MIN_INFORMATIVE) is None


@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NO_SIGNAL])
def test_not_without_a_kept_accuracy(outcome):
    assert str(outcome) in (bias_hindrance(Verdict(outcome, 0.03, None), 1000, 1000) or "")


@pytest.mark.parametrize("answers", [(99, 500), (500, 99)])
def test_not_on_few_answers(answers):
    assert "rests on 99 answers" in (bias_hindrance(Verdict(Outcome.PASS, 0.03, None), *answers) or "")
