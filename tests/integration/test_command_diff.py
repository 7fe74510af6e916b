"""`pytest-qllm diff`: what got worse or better between two releases, item by item where that can be."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from conftest import Suite
from pytest_qllm.cli import main

REGIME = """
    from pytest_qllm.regimes.regime import Regime

    def pytest_qllm_regimes():
        return [Regime("mine", "noise", 8, backend="mine.noise", options={{"noise": {noise}}})]
"""


def released(suite: Suite, name: str, noise: float, *benchmarks: str, **options: Any) -> None:
    """A release whose regime `mine` has that much noise in its weights."""
    suite.gates(*benchmarks)
    if not (suite.path / "mine").exists():
        suite.more_regimes()
    suite.pytester.makeconftest(REGIME.format(noise=noise))
    suite.run(**{"regimes": "mine", "report": name, **options})


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    status = main(["diff", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def row(rows: list[dict[str, Any]], regime: str = "mine", benchmark: str = "lambada") -> dict[str, Any]:
    (found,) = [one for one in rows if (one["regime"], one["benchmark"]) == (regime, benchmark)]
    return found


@pytest.fixture
def releases(suite: Suite) -> None:
    released(suite, "old", 0.0, "lambada", "story_perplexity")
    released(suite, "new", 1.0, "lambada", "story_perplexity")


@pytest.mark.usefixtures("releases")
def test_a_loss_is_shown_with_its_limits_and_fails(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows = told(capsys, "old", "new/qllm.json")
    assert status == 1
    lost = row(rows)
    assert (lost["direction"], lost["then"], lost["now"], lost["why"]) == ("lost", "PASS", "FAIL", "")
    change = lost["against"]["regime"]
    assert change["ci"][0] < change["effect"] < change["ci"][1] < -0.03
    assert change["effect"] == pytest.approx((change["mended"] - change["broken"]) / change["n"])
    assert lost["against"]["differs"] == ["regime"]
    assert row(rows, "fp16")["direction"] == "same"
    capsys.readouterr()
    assert main(["diff", "old", "new"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("new/qllm.json of 20")
    assert "4 compared item by item, each bound one-sided, 95 %" in lines
    assert lines.index("lost more than the tolerance (fails): 2") < lines.index("no change proven: 2")
    # The other way round it is a gain.
    status, rows = told(capsys, "new", "old")
    assert (status, row(rows)["direction"]) == (0, "better")


@pytest.mark.usefixtures("releases")
def test_without_items_the_verdicts_are_compared_and_that_is_said(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    (suite.path / "old/items.json.gz").unlink()
    status, rows = told(capsys, "old", "new")
    assert (status, row(rows)["direction"], row(rows)["against"]) == (1, "lost", None)
    assert main(["diff", "old", "new"]) == 1
    assert "compared by verdict alone: old/items.json.gz cannot be read" in capsys.readouterr().out


def test_the_same_is_no_change(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    released(suite, "old", 0.0, "lambada")
    shutil.copytree(suite.path / "old", suite.path / "new")
    status, rows = told(capsys, "old", "new")
    assert status == 0
    assert {one["direction"] for one in rows} == {"same"}
    assert row(rows)["against"]["regime"]["effect"] == 0


def test_what_only_one_release_has_is_listed(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    released(suite, "old", 0.0, "story_perplexity")
    (suite.path / "test_story_perplexity.py").unlink()
    released(suite, "new", 0.0, "lambada")
    status, rows = told(capsys, "old", "new")
    assert status == 0
    assert {(one["benchmark"], one["direction"]) for one in rows} == {("story_perplexity", "gone"), ("lambada", "new")}


def test_a_file_that_is_none(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    (suite.path / "x.json").write_text("{")
    assert main(["diff", "x.json", "y.json"]) == 2
    assert capsys.readouterr().err.startswith("pytest-qllm: x.json is no qllm.json of pytest-qllm")
