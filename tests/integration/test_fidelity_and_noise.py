"""What every run measures beside the verdict: the baseline's noise floor, and fidelity on texts."""

from __future__ import annotations

import json
import shutil

import pytest

from conftest import Suite


@pytest.fixture(autouse=True)
def regimes(suite: Suite) -> None:
    suite.more_regimes()
    suite.options["regimes"] = "same,destroyed"
    suite.gates("lambada", "story_perplexity")


def test_weights_that_are_the_same_diverge_by_nothing(suite: Suite) -> None:
    suite.run()
    fidelity = suite.verdicts["same", "story_perplexity"]["fidelity"]
    assert fidelity["kl_max"] < 1e-5
    assert fidelity["same_top"] == 1.0
    assert fidelity["delta_p_rms"] < 1e-5
    assert fidelity["tokens"] > 100
    assert suite.verdicts["same", "lambada"]["fidelity"] is None


def test_destroyed_weights_diverge(suite: Suite) -> None:
    result = suite.run()
    fidelity = suite.verdicts["destroyed", "story_perplexity"]["fidelity"]
    assert fidelity["kl_mean"] > 0.5
    assert fidelity["same_top"] < 0.5
    assert fidelity["kl_percentiles"]["50"] <= fidelity["kl_percentiles"]["99"] <= fidelity["kl_max"]
    result.stdout.fnmatch_lines(["*fidelity of destroyed on story_perplexity: KL * same top*"])


def test_the_same_fidelity_from_the_store(suite: Suite) -> None:
    suite.run()
    first = suite.verdicts["destroyed", "story_perplexity"]["fidelity"]
    suite.run()
    assert suite.verdicts["destroyed", "story_perplexity"]["fidelity"] == first


@pytest.mark.parametrize("lost", ["divergence", "states", "heads"])
def test_what_was_deleted_is_made_again(suite: Suite, lost: str) -> None:
    suite.run()
    first = suite.verdicts["destroyed", "story_perplexity"]
    shutil.rmtree(suite.path / "store" / lost)
    if lost != "divergence":  # the candidate has to be compared again, for which the baseline's states are needed
        shutil.rmtree(suite.path / "store/divergence")
    suite.run()
    again = suite.verdicts["destroyed", "story_perplexity"]
    assert again["fidelity"]["kl_mean"] == pytest.approx(first["fidelity"]["kl_mean"], rel=1e-6)
    assert again["verdict"] == first["verdict"]


def test_float32_has_no_noise_to_speak_of(suite: Suite) -> None:
    suite.run()
    for regime in ("same", "destroyed"):
        for benchmark in ("lambada", "story_perplexity"):
            noise = suite.verdicts[regime, benchmark]["noise"]
            assert noise["items"] == (8 if benchmark == "lambada" else 2)
            assert noise["flips"] == 0
            assert noise["largest"] < 1e-3
    (floor,) = {suite.verdicts[regime, "story_perplexity"]["noise"]["floor"] for regime in ("same", "destroyed")}
    assert floor == pytest.approx(1, abs=1e-4)
    assert all(baseline["noise"] is not None for baseline in suite.report["baselines"])


def test_a_tolerance_below_the_noise_floor_is_refused(suite: Suite) -> None:
    """The scores of the second scoring are made noisy in the store, as bfloat16 would make them."""
    suite.run()
    for file in (suite.path / "store/again").rglob("*.json"):
        envelope = json.loads(file.read_text())
        for score in envelope["content"]:
            for metric in score["metrics"]:
                score["metrics"][metric] = 1 - score["metrics"][metric] if metric == "acc" else -1.0
        from pytest_qllm.store import digest

        envelope["sha"] = digest(envelope["content"])
        file.write_text(json.dumps(envelope))
    suite.run(tolerances=None)
    verdict = suite.verdicts["same", "lambada"]
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "smaller than the noise floor of" in verdict["reason"]
    assert verdict["candidate"] is None


def test_a_tolerance_of_nothing_can_be_failed(suite: Suite) -> None:
    """Where the baseline does not move at all, a floor of 0 is no reason to refuse a tolerance of 0."""
    suite.pytester.makepyfile(test_lambada="def test_lambada(gate):\n    gate('lambada', tolerance=0)\n")
    suite.run("test_lambada.py")
    assert suite.verdicts["destroyed", "lambada"]["verdict"] == "FAIL"
    assert suite.verdicts["same", "lambada"]["verdict"] == "INCONCLUSIVE"
