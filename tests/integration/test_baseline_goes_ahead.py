"""The baseline's own test goes ahead with the first items; the regimes take it on as far as each needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Suite

CHUNK = 40


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.more_regimes()
    suite.gates("lambada")
    suite.options["regimes"] = "destroyed"


def baseline(suite: Suite) -> dict[str, Any]:
    (found,) = suite.report["baselines"]
    return dict(found)


def measured(suite: Suite) -> int:
    """Items of lambada that were scored with any model."""
    return sum(items for name, items in suite.scored if name == "lambada")


def test_what_no_regime_needs_is_not_measured(suite: Suite) -> None:
    suite.run()
    verdict = suite.verdicts["destroyed", "lambada"]
    assert (verdict["verdict"], verdict["planned"]) == ("FAIL", 120)
    assert baseline(suite)["n"] == verdict["n"] == CHUNK
    assert measured(suite) == 2 * CHUNK


def test_the_score_is_on_the_most_items_of_all_regimes(suite: Suite) -> None:
    result = suite.run(regimes="destroyed,same")
    found = {regime: verdict["n"] for (regime, _), verdict in suite.verdicts.items()}
    assert found["destroyed"] < found["same"] == baseline(suite)["n"]
    assert baseline(suite)["baseline"] == suite.verdicts["same", "lambada"]["baseline"]
    result.stdout.fnmatch_lines([f"fp16 *{100 * baseline(suite)['baseline']:.1f} %*"])


@pytest.mark.parametrize("arguments", [["-k", "fp16"], ["--qllm-regimes=fp16"]])
def test_alone_it_measures_all(suite: Suite, arguments: list[str]) -> None:
    suite.run(*arguments)
    assert baseline(suite)["n"] == measured(suite) == 120


def test_so_it_does_where_a_number_of_items_is_fixed(suite: Suite) -> None:
    suite.run("--qllm-fixed-n")
    assert baseline(suite)["n"] == 120


def test_a_regime_that_cannot_run_here_does_not_count(suite: Suite) -> None:
    suite.pytester.makeconftest(
        """
        from pytest_qllm.regimes.regime import Regime

        def pytest_qllm_regimes():
            return [Regime("far", "none here", 4, backend="mine.far", library="no_such_library")]
        """
    )
    suite.run(regimes="far").assert_outcomes(passed=1, skipped=1)
    assert baseline(suite)["n"] == 120


def test_other_parameters_of_a_test_are_other_questions(suite: Suite) -> None:
    suite.pytester.makepyfile(
        test_lambada="""
        import pytest

        @pytest.mark.parametrize("tolerance", [0.03, 0.05])
        def test_lambada(gate, tolerance):
            gate("lambada", tolerance=tolerance)
        """
    )
    suite.run("-k", "fp16 or (0.03 and destroyed)")
    assert {one["n"] for one in suite.report["baselines"]} == {120}
    suite.run("-k", "fp16 and 0.05 or destroyed and 0.03", store=suite.path / "other")
    assert baseline(suite)["n"] == 120


def test_no_signal_is_said_on_all_items_and_their_scores_are_kept(suite: Suite) -> None:
    (suite.path / "test_lambada.py").unlink()
    suite.gates("arc_easy")
    suite.run().assert_outcomes(passed=1, skipped=1)
    assert baseline(suite)["n"] == suite.verdicts["destroyed", "arc_easy"]["n"]
    from pytest_qllm.report import items

    listed = suite.report["items"]
    (table,) = items.read(suite.path / "reports" / listed["file"], listed["sha256"])
    assert len(table["scores"]["fp16"]) == baseline(suite)["n"]


def test_where_two_models_have_no_room_it_measures_all(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_qllm.memory.total", lambda device: 1000)
    suite.run()
    assert measured(suite) == 120 + CHUNK
    assert baseline(suite)["n"] == 120


def test_the_models_go_on_in_turns_and_each_is_loaded_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_qllm.measure import Laboratory

    loaded: list[str] = []
    load = Laboratory._load
    monkeypatch.setattr(Laboratory, "_load", lambda self, regime: loaded.append(regime.name) or load(self, regime))
    suite.run(regimes="same,destroyed")
    assert suite.verdicts["same", "lambada"]["looks"] > 1
    assert loaded == ["fp16", "same", "destroyed"]


def test_the_plan_counts_what_the_regimes_need_at_most(suite: Suite) -> None:
    (suite.path / "wide.toml").write_text("[tool.qllm.tolerances.lambada]\n2 = 0.5\n")
    suite.run("--qllm-plan", tolerances="wide.toml")
    plans = json.loads((suite.path / "reports/plan.json").read_text())["plans"]
    assert {plan["regime"]: plan["planned"] for plan in plans} == {"fp16": 80, "destroyed": 80}


def test_shards_are_merged_with_the_longer_one_s_score(suite: Suite) -> None:
    for regime in ("destroyed", "same"):
        suite.run(regimes=regime, report=suite.path / regime)
    from pytest_qllm.cli import main

    files = [suite.path / regime / "qllm.json" for regime in ("destroyed", "same")]
    few, many = (json.loads(file.read_text())["baselines"][0]["n"] for file in files)
    assert few < many
    assert main(["merge", *map(str, files), "--into", str(suite.path / "both")]) == 1, "as the run, in which one failed"
    merged = json.loads((suite.path / "both/qllm.json").read_text())
    assert [one["n"] for one in merged["baselines"]] == [many]
