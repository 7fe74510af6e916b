"""The plugin among pytest's own options and other plugins."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from conftest import IMPORTED_BEFORE, Suite
from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark
from pytest_qllm.progress import Reporter


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")


@pytest.mark.parametrize(
    "arguments",
    [
        ("-p", "no:xdist"),
        ("-p", "no:cacheprovider", "-p", "no:junitxml", "-p", "no:logging"),
        ("--strict-markers", "--strict-config"),
        ("-s",),
        ("-q", "--tb=no", "--no-header", "--no-summary"),
        ("-W", "error"),
        ("--import-mode=importlib",),
    ],
    ids=" ".join,
)
def test_verdicts_do_not_depend_on_other_options(suite: Suite, arguments: tuple[str, ...]) -> None:
    suite.run(*arguments).assert_outcomes(passed=2, failed=1)
    assert list(suite.outcomes.values()) == ["PASS", "FAIL"]


def test_x_stops_at_the_first_loss_and_reports_what_there_is(suite: Suite) -> None:
    suite.gates("story_perplexity")
    result = suite.run("-x")
    result.assert_outcomes(passed=4, failed=1)
    assert suite.outcomes == {
        ("bnb-int8", "lambada"): "PASS",
        ("bnb-int8", "story_perplexity"): "PASS",
        ("bnb-nf4", "lambada"): "FAIL",
    }
    result.stdout.fnmatch_lines(["bnb-nf4*FAIL*-"])


def test_ctrl_c_reports_what_there_is(suite: Suite) -> None:
    suite.pytester.makeconftest(
        """
        def pytest_runtest_setup(item):
            if "nf4" in item.name:
                raise KeyboardInterrupt
        """
    )
    result = suite.pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", *suite.arguments(), no_reraise_ctrlc=True
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert list(suite.outcomes.values()) == ["PASS"]


def test_lf_runs_the_losses_again(suite: Suite) -> None:
    arguments = ("-p", "no:hypothesispytest", *suite.arguments())
    suite.pytester.runpytest_inprocess(*arguments).assert_outcomes(passed=2, failed=1)
    suite.pytester.runpytest_inprocess(*arguments, "--lf").assert_outcomes(failed=1)
    assert suite.outcomes == {("bnb-nf4", "lambada"): "FAIL"}


def test_what_is_told_while_items_are_scored_is_the_test(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the loading before it, which is over."""
    told: list[str] = []
    told_at: set[str] = set()
    score = LmEvalBenchmark.score

    def scored(self: LmEvalBenchmark, *given: Any) -> Any:
        told_at.add(told[-1])
        return score(self, *given)

    monkeypatch.setattr(Reporter, "__call__", lambda _, what, count=None: told.append(what))
    monkeypatch.setattr(LmEvalBenchmark, "score", scored)
    suite.gates("lambada")
    suite.run("test_lambada.py", regimes="bnb-int8")
    assert "loading bnb-int8" in told
    assert told_at == {"lambada[fp16]", "lambada[bnb-int8]"}


def test_collecting_measures_nothing(suite: Suite) -> None:
    result = suite.run("--collect-only")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*<Function test_lambada[[]fp16]>", "*<Function test_lambada[[]bnb-int8]>"])
    result.stdout.no_fnmatch_line("*quantization*")
    assert suite.scored == []
    assert not (suite.path / "store").exists()
    assert not (suite.path / "reports").exists()


def test_one_test_by_its_id(suite: Suite) -> None:
    suite.run("test_lambada.py::test_lambada[bnb-nf4]").assert_outcomes(failed=1)
    assert suite.outcomes == {("bnb-nf4", "lambada"): "FAIL"}


def test_switched_off_for_a_suite_that_does_not_use_it(suite: Suite) -> None:
    suite.pytester.makepyfile(test_other="def test_other(): pass")
    result = suite.pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:qllm", *IMPORTED_BEFORE, "test_other.py"
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*qllm*")


def test_a_suite_that_does_not_use_it_sees_nothing_of_it(suite: Suite) -> None:
    suite.pytester.makepyfile(test_other="def test_other(): pass")
    result = suite.run("test_other.py", model="/no/such")
    result.assert_outcomes(passed=1)
    assert sorted(path.name for path in suite.path.iterdir() if path.is_dir() and path.name != "__pycache__") == []


@pytest.mark.parametrize("family", ["xunit1", "legacy"])
def test_junit_has_the_verdict_as_properties(suite: Suite, family: str) -> None:
    suite.run("--junit-xml=junit.xml", "-o", f"junit_family={family}")
    properties = junit(suite)
    assert properties["test_lambada[fp16]"]["qllm.regime"] == "fp16"
    failed = properties["test_lambada[bnb-nf4]"]
    assert failed["qllm.verdict"] == "FAIL"
    assert (failed["qllm.benchmark"], failed["qllm.n"]) == ("lambada", "40")
    assert float(failed["qllm.ci_low"]) < float(failed["qllm.effect"]) < float(failed["qllm.ci_high"])
    assert "qllm.verdict" not in properties["test_lambada[fp16]"]


def test_junit_has_each_property_once(suite: Suite) -> None:
    suite.run("--junit-xml=junit.xml")
    for case in ElementTree.parse(suite.path / "junit.xml").iter("testcase"):
        names = [one.get("name") for one in case.iter("property")]
        assert len(names) == len(set(names))


def junit(suite: Suite) -> dict[str, dict[str, str]]:
    return {
        str(case.get("name")): {str(one.get("name")): str(one.get("value")) for one in case.iter("property")}
        for case in ElementTree.parse(suite.path / "junit.xml").iter("testcase")
    }
