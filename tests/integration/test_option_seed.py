"""--qllm-seed: which items are the first ones."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options.update(regimes="bnb-int8", max_items=40)


def test_one_seed_is_one_choice_of_items(suite: Suite) -> None:
    suite.run(seed=5)
    before = suite.report["baselines"]
    suite.scored.clear()
    suite.run(seed=5)
    assert suite.scored == []
    assert suite.report["baselines"] == before


def test_another_seed_chooses_other_items(suite: Suite) -> None:
    suite.run(seed=5)
    suite.scored.clear()
    suite.run(seed=6)
    assert suite.scored == [("lambada", 40)] * 2
    assert suite.verdicts["bnb-int8", "lambada"]["provenance"]["seed"] == 6


def test_the_seed_of_the_order_changes_no_score_of_all_items(suite: Suite) -> None:
    scores = []
    for seed in (None, 5):
        suite.run(seed=seed, max_items=0)
        (baseline,) = suite.report["baselines"]
        scores.append(baseline["baseline"])
    assert scores[0] == scores[1]


@pytest.mark.parametrize("given", ["-1", "a", "0.5", ""])
def test_what_is_no_number_is_a_usage_error(suite: Suite, given: str) -> None:
    result = suite.run(seed=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-seed is {given!r}", "expected a whole number from 0")
