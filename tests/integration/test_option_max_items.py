"""--qllm-max-items: at most so many items of each benchmark."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def regimes(suite: Suite) -> None:
    suite.options["regimes"] = "bnb-int8"


def count(suite: Suite, benchmark: str = "lambada") -> int:
    (baseline,) = (one for one in suite.report["baselines"] if one["benchmark"] == benchmark)
    (verdict,) = (one for one in suite.report["verdicts"] if one["benchmark"] == benchmark)
    assert baseline["n"] == verdict["n"]
    return int(verdict["n"])


@pytest.mark.parametrize(("given", "measured"), [("0", 120), ("1000", 120), ("30", 30)])
def test_at_most_so_many(suite: Suite, given: str, measured: int) -> None:
    suite.gates("lambada")
    suite.run(max_items=given)
    assert count(suite) == measured


def test_it_caps_every_benchmark_but_adds_to_none(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    suite.run(max_items=20)
    assert (count(suite), count(suite, "story_perplexity")) == (20, 12)


@pytest.mark.parametrize(("given", "measured"), [("20", 10), ("5", 5)])
def test_it_caps_what_a_marker_says(suite: Suite, given: str, measured: int) -> None:
    suite.pytester.makepyfile(
        test_marked="""
        import pytest

        @pytest.mark.qllm_items(10)
        def test_lambada(gate):
            gate("lambada")
        """
    )
    suite.run("--strict-markers", max_items=given)
    assert count(suite) == measured


def test_more_items_are_the_same_items_and_others(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(max_items=40)
    suite.scored.clear()
    suite.run(max_items=80)
    assert suite.scored == [("lambada", 40), ("lambada", 40)]
    assert count(suite) == 80


def test_few_items_prove_nothing(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    suite.run(max_items=7).assert_outcomes(passed=2, failed=2)
    assert set(suite.outcomes.values()) == {"INCONCLUSIVE"}


def test_one_answer_proves_nothing(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(max_items=1)
    assert set(suite.outcomes.values()) <= {"NO_SIGNAL", "INCONCLUSIVE"}


def test_one_text_proves_nothing(suite: Suite) -> None:
    suite.gates("story_perplexity")
    suite.run(max_items=1).assert_outcomes(passed=1, failed=1)
    assert set(suite.outcomes.values()) == {"INCONCLUSIVE"}


@pytest.mark.parametrize("given", ["-1", "ten", "1.5", "", "1e3"])
def test_what_is_no_number_is_a_usage_error(suite: Suite, given: str) -> None:
    suite.gates("lambada")
    result = suite.run(max_items=given)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"--qllm-max-items is {given!r}", "expected a whole number from 0")
