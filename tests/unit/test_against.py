"""A previous release's scores against today's: paired by what the items are, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_qllm.against import Previous
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.verdict import Sample

RECORD = Record("m", "mine", "noise", 8, "piqa", "knowledge", "acc", "difference", 400, 0.9, tolerance=0.03)
IDS = [f"item-{at}" for at in range(400)]
RIGHT = [0 if at % 10 == 0 else 1 for at in range(400)]


def previous(scores: dict[str, list[float]], ids: list[str] = IDS, **fields: object) -> Previous:
    entry = {"benchmark": "piqa", "metric": "acc", "items": ids, "weights": None, "clusters": None, "scores": scores}
    told = {"model": "m", "regime": "mine", "benchmark": "piqa", "provenance": {"weights": "old"}}
    report = {"provenance": {"time": "2026-01-02T03:04:05"}, "baselines": [], "verdicts": [told]}
    return Previous("old/qllm.json", report, [{**entry, **fields}])


def sample(scores: list[float], ids: list[str] = IDS, weights: float = 1.0) -> Sample:
    values = np.asarray(scores, dtype=np.float64)
    return Sample(tuple(ids), values, np.full(len(ids), weights), np.full(len(ids), 0.25))


def compared(release: Previous, now: list[float], ids: list[str] = IDS, kind: Kind = Kind.ACCURACY):
    return release.compare(RECORD, kind, sample(now, ids), sample(now, ids))


def test_the_same_scores_pass() -> None:
    found = compared(previous({"fp16": RIGHT, "mine": RIGHT}), RIGHT)
    assert (found.verdict, found.regime.effect, found.regime.n, found.items) == ("PASS", 0.0, 400, 400)
    assert found.baseline.effect == 0.0
    assert found.name == "old/qllm.json of 2026-01-02"


def test_a_proven_loss_fails() -> None:
    found = compared(previous({"fp16": RIGHT, "mine": [1] * 400}), RIGHT)
    assert (found.verdict, found.regime.broken, found.regime.mended) == ("FAIL", 40, 0)
    assert found.regime.effect == pytest.approx(-0.1)


def test_items_are_found_in_any_order() -> None:
    order = np.random.default_rng(0).permutation(400)
    found = compared(previous({"fp16": RIGHT, "mine": RIGHT}), [RIGHT[at] for at in order], [IDS[at] for at in order])
    assert (found.regime.broken, found.regime.mended, found.regime.n) == (0, 0, 400)


def test_only_what_both_have_is_compared() -> None:
    found = compared(previous({"fp16": RIGHT, "mine": RIGHT[:150]}), RIGHT[100:] + [1] * 5, IDS[100:] + list("vwxyz"))
    assert (found.regime.n, found.items, found.baseline.n) == (50, 150, 50)


@pytest.mark.parametrize(
    ("release", "reason"),
    [
        (previous({"fp16": RIGHT}), "it has no piqa of mine"),
        (previous({"mine": RIGHT}, benchmark="arc"), "it has no piqa"),
        (previous({"mine": RIGHT}, metric="prob"), "it has prob of piqa, not acc"),
        (previous({"mine": RIGHT}, ids=[f"{one}!" for one in IDS]), "none of its items is asked today"),
        (previous({"mine": RIGHT}, weights=[2] * 400), "another tokenizer"),
    ],
    ids=["regime", "benchmark", "metric", "items", "tokens"],
)
def test_what_cannot_be_compared_says_why(release: Previous, reason: str) -> None:
    found = compared(release, RIGHT)
    assert reason in found.reason
    assert found.verdict is found.regime is None


def test_a_release_at_chance_tells_no_loss() -> None:
    found = compared(previous({"fp16": RIGHT, "mine": [at % 4 == 0 for at in range(400)]}), RIGHT)
    assert found.verdict == "NO_SIGNAL"
    assert "too close to chance" in found.reason


def test_a_baseline_drifts_and_has_no_verdict() -> None:
    found = previous({"fp16": [1] * 400}).compare(
        Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 400, 0.9),
        Kind.ACCURACY,
        sample(RIGHT),
        None,
    )
    assert (found.verdict, found.regime) == (None, None)
    assert found.baseline.effect == pytest.approx(-0.1)


def test_perplexities_are_a_ratio() -> None:
    then, now = list(np.linspace(-300, -200, 40)), list(np.linspace(-300, -200, 40) - 12)
    release = previous({"fp16": then, "mine": then}, IDS[:40], weights=[100] * 40)
    record = Record("m", "mine", "noise", 8, "piqa", "language", "acc", "ratio", 40, 12.0, tolerance=1.03)
    texts = sample(now, IDS[:40], 100.0)
    found = release.compare(record, Kind.PERPLEXITY, texts, texts)
    assert found.regime.effect == pytest.approx(np.exp(0.12))
    assert found.regime.now / found.regime.previous == pytest.approx(np.exp(0.12))


def test_it_says_what_else_changed() -> None:
    from dataclasses import replace

    record = replace(RECORD, provenance={"weights": "new"})
    release = previous({"fp16": RIGHT, "mine": RIGHT})
    found = release.compare(record, Kind.ACCURACY, sample(RIGHT), sample(RIGHT))
    assert found.differs == ("weights",)
