"""--qllm-plan: what the gates of the selection can decide and cost, without measuring anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tiny import LAMBADA, write_documents

from conftest import Suite, assert_refused

PLAN = "--qllm-plan"


def plans(suite: Suite) -> dict[tuple[str, str], dict[str, Any]]:
    """By regime and benchmark."""
    content = json.loads((suite.path / "reports/plan.json").read_text())
    assert content["schema"] == "pytest-qllm-plan/1"
    return {(plan["regime"], plan["benchmark"]): plan for plan in content["plans"]}


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loads a model, makes an artifact or scores an item."""
    from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark
    from pytest_qllm.measure import Laboratory

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a plan measures nothing")

    monkeypatch.setattr("pytest_qllm.models.loader.load_dense", refuse)
    for name in ("load", "artifact", "engine", "_load"):
        monkeypatch.setattr(Laboratory, name, refuse)
    monkeypatch.setattr(LmEvalBenchmark, "score", refuse)


@pytest.mark.usefixtures("forbidden")
class TestThePlan:
    def test_every_gate_is_skipped_as_planned_and_nothing_is_measured(self, suite: Suite) -> None:
        suite.gates("lambada", "story_perplexity")
        result = suite.run(PLAN, "-rs")
        result.assert_outcomes(skipped=6)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["SKIPPED*planned"])
        assert not (suite.path / "reports/qllm.json").exists()
        assert len(plans(suite)) == 6

    def test_an_accuracy(self, suite: Suite) -> None:
        suite.gates("lambada")
        result = suite.run(PLAN)
        plan = plans(suite)["bnb-nf4", "lambada"]
        assert (plan["tolerance"], plan["asked"], plan["available"], plan["planned"]) == (0.04, 500, LAMBADA, LAMBADA)
        assert (plan["power"]["flips"], plan["power"]["needed"], plan["power"]["decidable"]) == (0.12, 880, False)
        assert 0.04 < plan["power"]["seen"] < plan["power"]["failed"]
        assert (plan["signal"], plan["stored"], plan["counted"]) == (None, 0, True)
        result.stdout.fnmatch_lines(
            [
                "benchmark  regime    allowed       items  needed  seen  failed  decides * tokens  minutes",
                "lambada    fp16            -  120 of 120       -     -       -        -  1.44 k        [?]",
                "lambada    bnb-nf4       4.0  120 of 120     880   8.2    12.0       no  1.44 k        [?]",
                "answers expected to flip: 4 % at 8 bits, 12 % at 4 bits",
                "NO_SIGNAL unknown before the baseline is measured: lambada",
                "to compute: at most 4.32 k tokens (by the checkpoint's tokenizer)",
                "time: no measurement on this machine yet: 0.976 GFLOP; *",
                "lambada on bnb-int8: 120 items cannot decide 3 points: 622 are needed; there are no more: *",
                "lambada on bnb-nf4: 120 items cannot decide 4 points: 880 are needed; there are no more: *",
                "plan: *plan.json",
            ]
        )

    def test_a_wide_tolerance_is_decidable_with_some_of_the_items(self, suite: Suite) -> None:
        suite.gates("lambada")
        (suite.path / "wide.toml").write_text("[tool.qllm.tolerances.lambada]\n8 = 0.25\n")
        result = suite.run(PLAN, tolerances="wide.toml", regimes="bnb-int8")
        plan = plans(suite)["bnb-int8", "lambada"]
        assert plan["power"]["needed"] < plan["planned"] == 80 < LAMBADA, "whole chunks, and no fewer than 80"
        assert plan["power"]["decidable"]
        assert plan["undecided"] == ""
        result.stdout.no_fnmatch_line("*cannot decide*")

    @pytest.mark.parametrize(
        ("arguments", "advice"), [(["--qllm-max-items=40"], "raise --qllm-max-items"), ([], "raise the test's items")]
    )
    def test_the_advice_is_what_would_help(self, suite: Suite, arguments: list[str], advice: str) -> None:
        suite.pytester.makepyfile(test_few="def test_lambada(gate):\n    gate('lambada', items=60)\n")
        suite.run(PLAN, *arguments, regimes="bnb-int8")
        assert f"622 are needed; {advice} or the tolerance" in plans(suite)["bnb-int8", "lambada"]["undecided"]

    def test_no_number_of_items_proves_that_nothing_is_lost(self, suite: Suite) -> None:
        suite.pytester.makepyfile(test_none="def test_lambada(gate):\n    gate('lambada', tolerance=0)\n")
        suite.run(PLAN, regimes="bnb-int8").stdout.fnmatch_lines(["*no number of items proves a tolerance of 0*"])

    def test_a_fixed_number_of_items(self, suite: Suite) -> None:
        suite.gates("lambada")
        (suite.path / "wide.toml").write_text("[tool.qllm.tolerances.lambada]\n8 = 0.25\n")
        suite.run(PLAN, "--qllm-fixed-n", tolerances="wide.toml", regimes="bnb-int8")
        plan = plans(suite)["bnb-int8", "lambada"]
        assert plan["planned"] == LAMBADA > plan["power"]["needed"]

    def test_a_smaller_error_needs_more(self, suite: Suite) -> None:
        suite.gates("lambada")
        suite.run(PLAN, alpha="0.01", regimes="bnb-int8")
        assert plans(suite)["bnb-int8", "lambada"]["power"]["needed"] > 622

    def test_power_is_not_planned_for_a_perplexity(self, suite: Suite) -> None:
        suite.gates("story_perplexity")
        result = suite.run(PLAN, regimes="bnb-int8")
        plan = plans(suite)["bnb-int8", "story_perplexity"]
        assert (plan["power"], plan["planned"], plan["undecided"]) == (None, 12, "")
        assert plan["tokens"] >= 12 * 60
        result.stdout.fnmatch_lines(["story_perplexity  bnb-int8 *x1.03  12 of 12 *[?]*", "power is not planned for*"])

    def test_other_tests_do_not_run(self, suite: Suite) -> None:
        suite.gates("lambada")
        suite.pytester.makepyfile(test_other="def test_other():\n    raise AssertionError\n")
        suite.pytester.makepyfile(test_kernels="def test_kernel(gate):\n    gate.kernel()\n")
        result = suite.run(PLAN, "-rs", regimes="bnb-int8")
        result.assert_outcomes(skipped=5)
        result.stdout.fnmatch_lines(["SKIPPED*not a gate*"])
        assert len(plans(suite)) == 2

    def test_what_is_wrong_with_a_gate_fails_now_and_not_after_hours(self, suite: Suite) -> None:
        suite.gates("no_such_benchmark", "lambada")
        result = suite.run(PLAN, regimes="bnb-int8")
        result.assert_outcomes(failed=2, skipped=2)
        result.stdout.fnmatch_lines(["ERROR *unknown benchmark 'no_such_benchmark'*"])

    def test_a_model_that_is_not_there_is_an_error(self, suite: Suite) -> None:
        suite.gates("lambada")
        assert_refused(suite.run(PLAN, model="/no/such"), "no model at '/no/such'")

    def test_a_model_that_is_not_fetched_is_not_fetched(self, suite: Suite) -> None:
        suite.gates("lambada")
        suite.pytester.makeini("[pytest]\nqllm_model = smollm2-135m")
        result = suite.run(PLAN, model=None, regimes="bnb-int8")
        result.assert_outcomes(skipped=2)
        plan = plans(suite)["bnb-int8", "lambada"]
        assert (plan["counted"], plan["stored"], plan["gflop"]) == (False, None, None)
        assert plan["tokens"] > LAMBADA
        result.stdout.fnmatch_lines(["the checkpoint is not here yet: lambada", "*(as characters / 4)*"])

    def test_data_that_are_not_fetched_are_not_fetched(self, suite: Suite) -> None:
        suite.gates("lambada")
        result = suite.run(PLAN, data="auto", regimes="bnb-int8")
        plan = plans(suite)["bnb-int8", "lambada"]
        assert (plan["available"], plan["planned"], plan["tokens"]) == (None, 500, None)
        result.stdout.fnmatch_lines(
            ["lambada * 500 of 500[?] *", "items and tokens are not known before the data are here: lambada"]
        )

    def test_in_the_ini_file(self, suite: Suite) -> None:
        suite.gates("lambada")
        suite.pytester.makeini("[pytest]\nqllm_plan = true")
        suite.run(regimes="bnb-int8").assert_outcomes(skipped=2)

    def test_broken_data_are_told(self, suite: Suite) -> None:
        suite.gates("lambada")
        write_documents(suite.path / "data/lambada/test.jsonl", [{"story": "ba da"}] * 2)
        assert_refused(suite.run(PLAN, data="data"), "lm-eval cannot prepare lambada")


def test_what_was_measured_costs_nothing_and_tells_the_speed_and_the_signal(suite: Suite) -> None:
    suite.gates("lambada", "arc_easy")
    suite.run(regimes="bnb-int8", max_items=40)
    suite.scored.clear()
    result = suite.run(PLAN, regimes="bnb-int8")
    assert suite.scored == []
    assert plans(suite)["fp16", "lambada"]["stored"] == 40
    assert plans(suite)["fp16", "lambada"]["seconds"] > 0
    suite.run(PLAN, regimes="bnb-int8", max_items=40)
    found = plans(suite)
    assert (found["bnb-int8", "lambada"]["tokens"], found["bnb-int8", "lambada"]["seconds"]) == (0, 0)
    assert found["bnb-int8", "lambada"]["signal"] == ""
    assert "too close" in found["bnb-int8", "arc_easy"]["signal"]
    result.stdout.fnmatch_lines(["time: * minutes on this machine; fetching, quantizing and loading come on top"])


def test_the_tokens_are_those_that_the_engine_computes(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_qllm.speed import Speeds

    computed: list[int] = []
    monkeypatch.setattr(Speeds, "add", lambda _, what, kind, tokens, seconds: computed.append(tokens))
    suite.gates("lambada", "arc_easy", "story_perplexity")
    suite.run(PLAN, "-k", "fp16", regimes="bnb-int8")
    planned = sum(plan["tokens"] for plan in plans(suite).values())
    suite.run("-k", "fp16", regimes="bnb-int8")
    assert sum(computed) == planned


def test_an_ordinary_run_says_so_before_it_measures_and_after(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run(regimes="bnb-int8", max_items=40)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "  qllm: lambada on bnb-int8 will hardly be decided: needs about 622 items, 40 are at hand",
            "INCONCLUSIVE: lambada on bnb-int8*",
            "  power       needs about 622 items, 40 are at hand",
        ]
    )
    assert suite.verdicts["bnb-int8", "lambada"]["undecidable"] == "needs about 622 items, 40 are at hand"


def test_another_word_in_the_ini_file_is_a_usage_error(suite: Suite) -> None:
    suite.gates("lambada")
    suite.pytester.makeini("[pytest]\nqllm_plan = perhaps")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "qllm_plan is 'perhaps'", "true, false")
