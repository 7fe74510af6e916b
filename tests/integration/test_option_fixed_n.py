"""--qllm-fixed-n: one look at all items, no early stopping."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-nf4"


def test_without_it_a_plain_loss_ends_the_test_early(suite: Suite) -> None:
    suite.run()
    verdict = suite.verdicts["bnb-nf4", "lambada"]
    assert verdict["verdict"] == "FAIL"
    assert verdict["n"] < verdict["planned"] == 120


def test_with_it_all_items_are_judged_at_one_look(suite: Suite) -> None:
    suite.run("--qllm-fixed-n")
    verdict = suite.verdicts["bnb-nf4", "lambada"]
    assert verdict["verdict"] == "FAIL"
    assert (verdict["n"], verdict["planned"], verdict["looks"], verdict["alphas"]) == (120, 120, 1, [0.05, 0.05])
    assert suite.report["provenance"]["settings"]["fixed_n"] is True


def test_it_takes_all_items_where_a_wide_tolerance_would_need_fewer(suite: Suite) -> None:
    (suite.path / "wide.toml").write_text("[tool.qllm.tolerances.lambada]\n8 = 0.25\n")
    suite.options.update(regimes="bnb-int8", tolerances="wide.toml")
    suite.run()
    assert suite.verdicts["bnb-int8", "lambada"]["planned"] < 120
    suite.run("--qllm-fixed-n")
    assert suite.verdicts["bnb-int8", "lambada"]["planned"] == 120


def test_it_holds_for_perplexities(suite: Suite) -> None:
    suite.gates("story_perplexity")
    suite.run("test_story_perplexity.py", "--qllm-fixed-n")
    verdict = suite.verdicts["bnb-nf4", "story_perplexity"]
    assert (verdict["n"], verdict["looks"], verdict["alphas"]) == (12, 1, [0.05, 0.05])


def test_with_an_error_of_its_own(suite: Suite) -> None:
    suite.run("--qllm-fixed-n", alpha="0.01")
    assert suite.verdicts["bnb-nf4", "lambada"]["alphas"] == [0.01, 0.01]


def test_in_the_ini_file(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nqllm_fixed_n = true")
    suite.run()
    assert suite.verdicts["bnb-nf4", "lambada"]["looks"] == 1


def test_another_word_in_the_ini_file_is_a_usage_error(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nqllm_fixed_n = yes")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "qllm_fixed_n is 'yes'", "true, false")


def test_the_rerun_command_has_it(suite: Suite) -> None:
    suite.run("--qllm-fixed-n").stdout.fnmatch_lines(["  rerun       pytest *[[]bnb-nf4]* --qllm-fixed-n*"])
