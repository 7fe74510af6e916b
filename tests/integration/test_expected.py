"""[tool.qllm.expected]: a loss that is accepted, up to a bound, until it is mended."""

from __future__ import annotations

import json

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.cli import main

REASON = "noise is shipped for tests only"


@pytest.fixture(autouse=True)
def regimes(suite: Suite) -> None:
    suite.more_regimes()
    suite.gates("lambada")
    suite.options["regimes"] = "destroyed"


def expect(suite: Suite, bound: float, regime: str = "destroyed", benchmark: str = "lambada", more: str = "") -> None:
    suite.pytester.makepyprojecttoml(
        f"""
        [tool.qllm.expected.{regime}.{benchmark}]
        reason = "{REASON}"
        bound = {bound}
        {more}
        """
    )


def accepted(suite: Suite, regime: str = "destroyed", benchmark: str = "lambada") -> dict[str, object]:
    return dict(suite.verdicts[regime, benchmark]["expected"])


def test_a_known_loss_is_an_xfail_with_its_figures_and_reason(suite: Suite) -> None:
    expect(suite, 0.9)
    result = suite.run("-rx", "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "destroyed *xfail -*",
            "1 xfail",
            f"XFAIL *FAIL -* points between *, proven smaller than the accepted 90 points*: {REASON}",
        ]
    )
    assert suite.outcomes == {("destroyed", "lambada"): "FAIL"}
    found = accepted(suite)
    assert (found["reason"], found["bound"], found["strict"], found["outcome"]) == (REASON, 0.9, True, "xfail")
    junit = (suite.path / "junit.xml").read_text()
    assert 'type="pytest.xfail"' in junit
    assert 'name="qllm.verdict" value="FAIL"' in junit


def test_a_loss_that_is_worse_than_the_bound_fails_again(suite: Suite) -> None:
    expect(suite, 0.1)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "FAIL: lambada on destroyed*: worse than the bound of 10 points",
            f"  expected    {REASON}",
            "  bound       proven larger than the accepted 10 points",
            "destroyed *worse -*",
        ]
    )
    assert accepted(suite)["outcome"] == "worse"


def test_a_bound_that_is_not_decided_with_the_tolerance_takes_more_items(suite: Suite) -> None:
    expect(suite, 0.9)
    suite.run()
    stopped = suite.verdicts["destroyed", "lambada"]
    assert stopped["n"] < stopped["planned"] == 120
    low, high = stopped["ci"]
    expect(suite, -stopped["effect"])
    suite.run().assert_outcomes(passed=1, xfailed=1)
    went_on = suite.verdicts["destroyed", "lambada"]
    assert low < stopped["effect"] < high
    # The verdict by the tolerance stays what it would be without the entry.
    assert {**went_on, "expected": None} == {**stopped, "expected": None}
    assert stopped["n"] < int(str(accepted(suite)["n"])) <= 120


def test_a_loss_that_was_mended_fails(suite: Suite) -> None:
    expect(suite, 0.2, regime="same")
    result = suite.run(regimes="same")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["PASS: lambada on same*: the loss has been mended: remove it from [[]tool.qllm.expected]"]
    )
    assert suite.outcomes == {("same", "lambada"): "PASS"}
    assert accepted(suite, "same")["outcome"] == "mended"
    result.stdout.fnmatch_lines(["same *mended +0.0"])


def test_where_that_is_not_strict_it_is_an_xpass(suite: Suite) -> None:
    expect(suite, 0.2, regime="same", more="strict = false")
    result = suite.run("-rX", regimes="same")
    result.assert_outcomes(passed=1, xpassed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["same *xpass +0.0", f"XPASS *has been mended*({REASON})"])


@pytest.mark.parametrize("more", ["", "strict = false"])
def test_under_runxfail_nothing_is_expected(suite: Suite, more: str) -> None:
    suite.pytester.makepyprojecttoml(
        f"""
        [tool.qllm.expected]
        destroyed.lambada = {{reason = "x", bound = 0.9}}
        same.lambada = {{reason = "x", bound = 0.2, strict = {str(not more).lower()}}}
        """
    )
    suite.run("--runxfail", regimes="destroyed,same").assert_outcomes(passed=2, failed=1)


def test_an_undecided_loss_within_the_bound_is_expected(suite: Suite) -> None:
    expect(suite, 0.3, regime="same")
    suite.run(regimes="same", max_items=40).assert_outcomes(passed=1, xfailed=1)
    assert suite.outcomes == {("same", "lambada"): "INCONCLUSIVE"}


@pytest.mark.parametrize(
    ("inconclusive", "outcome"), [("fail", {"failed": 1}), ("skip", {"skipped": 1}), ("pass", {"passed": 1})]
)
def test_one_that_is_not_within_it_either_stays_inconclusive(
    suite: Suite, inconclusive: str, outcome: dict[str, int]
) -> None:
    expect(suite, 0.04, regime="same")
    result = suite.run("-k", "same", regimes="same", max_items=40, inconclusive=inconclusive)
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines(["same *INCONCL. +0.0"])
    assert accepted(suite, "same")["outcome"] == "undecided"


def test_no_signal_stays_a_skip(suite: Suite) -> None:
    suite.gates("arc_easy")
    expect(suite, 0.4, benchmark="arc_easy")
    suite.run("test_arc_easy.py").assert_outcomes(passed=1, skipped=1)
    assert accepted(suite, benchmark="arc_easy")["outcome"] == "undecided"


def test_other_regimes_and_benchmarks_are_judged_as_ever(suite: Suite) -> None:
    expect(suite, 0.9)
    suite.run(regimes="destroyed,bnb-nf4").assert_outcomes(passed=1, xfailed=1, failed=1)
    assert suite.verdicts["bnb-nf4", "lambada"]["expected"] is None


def test_the_file_of_the_tolerances_has_them(suite: Suite) -> None:
    expect(suite, 0.9)
    (suite.path / "release.toml").write_text("[tool.qllm.tolerances]\naccuracy = {8 = 0.07}")
    suite.run(tolerances="release.toml").assert_outcomes(passed=1, failed=1)


@pytest.mark.slow
def test_two_workers_give_the_same(suite: Suite) -> None:
    pytest.importorskip("xdist")
    suite.pytester.makepyprojecttoml(
        """
        [tool.qllm.expected]
        destroyed.lambada = {reason = "x", bound = 0.9}
        same.lambada = {reason = "x", bound = 0.2, strict = false}
        """
    )
    suite.options["regimes"] = "destroyed,same"
    alone = suite.run()
    before = suite.report
    both = suite.run("-n2", "-rX", store=suite.path / "other-store")
    assert both.parseoutcomes() == alone.parseoutcomes() == {"passed": 1, "xfailed": 1, "xpassed": 1}
    assert both.ret == alone.ret == pytest.ExitCode.OK
    for report in (before, after := suite.report):
        for verdict in report["verdicts"]:
            del verdict["rerun"]  # it names the store
    for kind in ("verdicts", "session", "pooled"):
        assert after[kind] == before[kind]


@pytest.mark.parametrize("content", ["expected = 3", "[tool.qllm.expected"])
def test_a_file_without_such_tables_is_a_usage_error(suite: Suite, content: str) -> None:
    suite.pytester.makepyprojecttoml("")
    (suite.path / "losses.toml").write_text(f"[tool.qllm]\n{content}")
    result = suite.run(tolerances="losses.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "losses.toml")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("destroid.lambada = {reason = 'x', bound = 0.9}", "unknown regime 'destroid'"),
        ("destroyed.lambda = {reason = 'x', bound = 0.9}", "unknown benchmark 'lambda'"),
        ("fp16.lambada = {reason = 'x', bound = 0.9}", "the baseline loses nothing"),
        ("destroyed.lambada = {reason = 'x', bound = 0.05}", "the bound 0.05 is not above the tolerance 0.08"),
        ("destroyed.lambada = {bound = 0.9}", "expected.destroyed.lambada has no reason"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(suite: Suite, table: str, words: str) -> None:
    suite.pytester.makepyprojecttoml(f"[tool.qllm.expected]\n{table}")
    assert_refused(suite.run("-k", "destroyed", max_items=8), words)


def test_the_printed_table_has_them(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    expect(suite, 0.9)
    assert main(["tolerances", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["expected"] == [
        {
            "regime": "destroyed",
            "benchmark": "lambada",
            "reason": REASON,
            "bound": 0.9,
            "strict": True,
            "relative": False,
        }
    ]
    assert main(["tolerances"]) == 0
    assert f"destroyed  lambada  0.9: {REASON}" in capsys.readouterr().out
    expect(suite, 0.01, regime="bnb-nf4")
    assert main(["tolerances"]) == 2
    assert "the bound 0.01 is not above the tolerance" in capsys.readouterr().err
