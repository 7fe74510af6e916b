"""--qllm-against: each regime beside its own previous release, item by item, and the scores that a release leaves."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import Suite, assert_refused

REGIME = """
    from pytest_qllm.regimes.regime import Regime

    def pytest_qllm_regimes():
        return [Regime("mine", "noise", 8, backend="mine.noise", options={{"noise": {noise}}})]
"""


def released(suite: Suite, noise: float = 0.0, **options: Any) -> Path:
    """A release whose regime `mine` has that much noise in its weights; its report is kept as reports-1.3."""
    suite.more_regimes()
    suite.pytester.makeconftest(REGIME.format(noise=noise))
    suite.options["regimes"] = "mine"
    suite.run(**options)
    shutil.move(suite.path / "reports", suite.path / "reports-1.3")
    return suite.path / "reports-1.3"


def now(suite: Suite, noise: float, **options: Any) -> pytest.RunResult:
    """Today's release of the regime, beside the one that was kept."""
    suite.pytester.makeconftest(REGIME.format(noise=noise))
    return suite.run(**{"against": "reports-1.3/qllm.json", **options})


def against(suite: Suite, regime: str = "mine", benchmark: str = "lambada") -> dict[str, Any]:
    return dict(suite.verdicts[regime, benchmark]["against"])


def items(report: Path) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress((report / "items.json.gz").read_bytes())))


def test_a_release_leaves_the_scores_of_its_items(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    content = items(released(suite))
    assert content["schema"] == "pytest-qllm-items/1"
    lambada, story = content["benchmarks"]
    assert (lambada["benchmark"], lambada["metric"], lambada["weights"]) == ("lambada", "acc", None)
    assert sum(lambada["scores"]["fp16"]) == 108
    assert len(lambada["items"]) == len(set(lambada["items"])) == 120
    assert len(lambada["scores"]["mine"]) <= 120
    assert set(story["scores"]) == {"fp16", "mine"}
    assert len(story["weights"]) == len(story["items"]) == 8, "decided at the first look"


def test_the_same_scores_give_the_same_bytes(suite: Suite) -> None:
    suite.gates("lambada")
    first = (released(suite) / "items.json.gz").read_bytes()
    suite.run()
    assert (suite.path / "reports/items.json.gz").read_bytes() == first


def test_an_unchanged_release_passes(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    released(suite)
    result = now(suite, 0.0)
    result.assert_outcomes(passed=4)
    since = against(suite)
    assert (since["verdict"], since["regime"]["effect"], since["regime"]["broken"]) == ("PASS", 0.0, 0)
    assert since["file"] == "reports-1.3/qllm.json"
    assert since["differs"] == []
    assert against(suite, benchmark="story_perplexity")["regime"]["effect"] == 1.0
    result.stdout.fnmatch_lines(["since reports-1.3/qllm.json of 20*", "mine *PASS +0.0 *PASS x1", "*4 passed*"])


def test_a_loss_since_then_fails_and_says_so(suite: Suite) -> None:
    """The same loss that the baseline's comparison sees: the previous release had none of it."""
    suite.gates("lambada")
    released(suite)
    result = now(suite, 1.0)
    result.assert_outcomes(passed=1, failed=1)
    since = against(suite)
    assert since["verdict"] == "FAIL"
    assert since["regime"]["ci"][1] < -0.03
    assert since["differs"] == ["regime"]
    result.stdout.fnmatch_lines(
        [
            "FAIL: lambada on mine *",
            "  previous    acc * % in reports-1.3/qllm.json of 20*, on * items that both have",
            "  since then  -*, between -* and -*, * broken, * mended (each bound one-sided, 95 %): FAIL",
            "    baseline  +0.0, between -* and +*, 0 broken, 0 mended",
            "    not as then regime",
        ]
    )


def test_a_slide_fails_a_test_whose_loss_to_the_baseline_is_within_its_tolerance(suite: Suite) -> None:
    """The previous release was better than the baseline: half of its answers were wrong in fp16's."""
    suite.gates("lambada")
    previous = released(suite)
    content = items(previous)
    table = content["benchmarks"][0]
    table["scores"]["mine"] = [1] * 120
    rewrite(previous, content)
    result = now(suite, 0.0, inconclusive="pass")
    result.assert_outcomes(passed=1, failed=1)
    assert (suite.outcomes["mine", "lambada"], against(suite)["verdict"]) == ("PASS", "FAIL")
    result.stdout.fnmatch_lines(["FAIL since the previous release (PASS against the baseline): lambada on mine *"])


def rewrite(report: Path, content: dict[str, Any]) -> None:
    from hashlib import sha256

    from pytest_qllm.report.sidecar import encode

    packed = encode(content)
    (report / "items.json.gz").write_bytes(packed)
    told = json.loads((report / "qllm.json").read_text())
    told["items"]["sha256"] = sha256(packed).hexdigest()
    (report / "qllm.json").write_text(json.dumps(told))


def test_items_are_paired_by_what_they_are_and_not_by_their_place(suite: Suite) -> None:
    """Another seed, another order: the same items are found."""
    suite.gates("lambada")
    released(suite, seed=1)
    now(suite, 0.0, seed=0, max_items=40).assert_outcomes(passed=1, failed=1)  # 40 are too few for 3 points
    since = against(suite)
    assert since["regime"]["broken"] == since["regime"]["mended"] == 0
    assert 0 < since["regime"]["n"] <= 40


def test_fewer_common_items_are_counted(suite: Suite) -> None:
    suite.gates("lambada")
    released(suite, max_items=40)
    now(suite, 0.0)
    since = against(suite)
    assert (since["regime"]["n"], since["items"]) == (40, 40)
    assert since["verdict"] == "INCONCLUSIVE"
    assert suite.verdicts["mine", "lambada"]["n"] > 40


def test_what_the_previous_release_has_not_is_not_compared(suite: Suite) -> None:
    suite.gates("lambada")
    released(suite)
    suite.gates("lambada", "story_perplexity")
    result = now(suite, 0.0, regimes="mine,bnb-int8")
    assert against(suite)["verdict"] == "PASS"
    assert against(suite, benchmark="story_perplexity")["reason"] == "it has no story_perplexity"
    assert against(suite, "bnb-int8")["reason"] == "it has no lambada of bnb-int8"
    result.stdout.fnmatch_lines(
        [
            "fp16 on lambada: +0.0, between *",
            "mine on story_perplexity not compared: it has no story_perplexity",
        ]
    )
    result.stdout.fnmatch_lines(["bnb-int8 on lambada not compared: it has no lambada of bnb-int8"])


def test_the_baseline_s_own_drift_is_told(suite: Suite) -> None:
    suite.gates("lambada")
    released(suite)
    now(suite, 0.0)
    (baseline,) = suite.report["baselines"]
    drift = baseline["against"]["baseline"]
    assert (drift["n"], drift["previous"], drift["now"], drift["effect"]) == (120, 0.9, 0.9, 0.0)


def test_other_documents_share_no_item(suite: Suite) -> None:
    suite.gates("lambada")
    previous = released(suite)
    content = items(previous)
    content["benchmarks"][0]["items"] = [f"other-{at}" for at in range(120)]
    rewrite(previous, content)
    now(suite, 0.0).assert_outcomes(passed=2)
    assert "none of its items is asked today" in against(suite)["reason"]


def test_an_ini_file_can_name_it(suite: Suite) -> None:
    suite.gates("lambada")
    released(suite)
    suite.pytester.makeini("[pytest]\nqllm_against = reports-1.3/qllm.json")
    now(suite, 0.0, against=None)
    assert against(suite)["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("no json", "is no qllm.json"),
        ("[]", "is no qllm.json"),
        ('{"schema": "pytest-qllm/9"}', "has the schema 'pytest-qllm/9'"),
        ('{"schema": "pytest-qllm/1", "provenance": {}, "items": null}', "has no scores of single items"),
        ('{"schema": "pytest-qllm/1", "provenance": {}, "items": {"sha256": "0"}}', "items.json.gz cannot be read"),
    ],
)
def test_a_file_that_is_no_release_is_refused(suite: Suite, content: str | None, words: str) -> None:
    suite.gates("lambada")
    if content is not None:
        (suite.path / "old.json").write_text(content)
    result = suite.run(against="old.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, words)


def test_scores_of_another_report_are_refused(suite: Suite) -> None:
    suite.gates("lambada")
    previous = released(suite)
    (previous / "items.json.gz").write_bytes(gzip.compress(b"{}"))
    assert_refused(now(suite, 0.0), "is not the file that was written with the qllm.json beside it")


@pytest.mark.slow
def test_workers_compare_too(suite: Suite) -> None:
    suite.gates("lambada")
    released(suite)
    suite.pytester.makeconftest(REGIME.format(noise=0.0))
    arguments = suite.arguments(against="reports-1.3/qllm.json")
    suite.pytester.runpytest_subprocess("-n", "2", *arguments).assert_outcomes(passed=2)
    assert against(suite)["verdict"] == "PASS"
    assert items(suite.path / "reports") == items(suite.path / "reports-1.3")
