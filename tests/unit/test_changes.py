"""Two releases compared by their reports alone: what is proven is said, and what is not compared says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_qllm.changes import Direction, Row, compare
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import write
from pytest_qllm.report.reader import Report, load_report
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.expected import Acceptance

N = 400
IDS = [f"item-{at}" for at in range(N)]
RIGHT = [1.0] * 360 + [0.0] * 40
BASELINE = Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", N, 0.9)
ACCEPTED = Acceptance("for tests", 0.4, True, "xfail")


def worse_by(items: int) -> list[float]:
    return [0.0] * items + RIGHT[items:]


def judged(scores: list[float], outcome: str = "PASS", chance: float | None = 0.5, **fields: object) -> Record:
    known = () if chance is None else [chance] * N
    return replace(
        BASELINE,
        regime="mine",
        bits=8,
        outcome=outcome,
        effect=(sum(scores) - sum(RIGHT)) / N,
        ci=(-0.1, 0.1),
        tolerance=0.03,
        scores=Scores(IDS, RIGHT, scores, chance=known).to_json(),
        **fields,
    )


def report(path: Path, *records: Record) -> Report:
    provenance = {"time": "2026-01-02T03:04:05+00:00", "settings": {"regimes": ["mine"]}}
    write(path / "qllm.json", [one.to_json() for one in records], [], provenance)
    return load_report(path)


def row(tmp_path: Path, then: Record, now: Record) -> Row:
    (found,) = compare(report(tmp_path / "old", then), report(tmp_path / "new", now))
    return found


@pytest.mark.parametrize(
    ("then", "now", "direction"),
    [(0, 0, "same"), (0, 2, "same"), (0, 8, "worse"), (0, 40, "lost"), (8, 0, "better"), (40, 0, "better")],
)
def test_item_by_item(tmp_path: Path, then: int, now: int, direction: str) -> None:
    found = row(tmp_path, judged(worse_by(then)), judged(worse_by(now)))
    assert found.direction == direction
    assert found.change is not None
    assert (found.change.effect, found.change.n) == (pytest.approx((then - now) / N), N)


def test_a_loss_that_is_accepted_today_is_no_loss_of_the_release(tmp_path: Path) -> None:
    found = row(tmp_path, judged(RIGHT), judged(worse_by(40), "FAIL", expected=ACCEPTED))
    assert found.direction == Direction.WORSE


@pytest.mark.parametrize(("lost", "verdict"), [(0, None), (40, "FAIL")])
def test_where_chance_is_not_known_no_pass_is_claimed(tmp_path: Path, lost: int, verdict: str | None) -> None:
    found = row(tmp_path, judged(RIGHT, chance=None), judged(worse_by(lost), chance=None))
    assert found.trend is not None
    assert found.trend.verdict == verdict
    assert ("what chance scores was not kept" in found.trend.reason) is (verdict is None)


@pytest.mark.parametrize(
    ("then", "now", "direction"),
    [
        ("PASS", "PASS", "same"),
        ("PASS", "FAIL", "lost"),
        ("INCONCLUSIVE", "FAIL", "lost"),
        ("PASS", "INCONCLUSIVE", "worse"),
        ("PASS", "NO_SIGNAL", "worse"),
        ("FAIL", "PASS", "better"),
        ("FAIL", "NO_SIGNAL", "same"),
        ("NO_SIGNAL", "INCONCLUSIVE", "same"),
    ],
)
def test_by_verdict_where_there_are_no_items(tmp_path: Path, then: str, now: str, direction: str) -> None:
    old, new = (replace(judged(RIGHT, outcome), scores=None) for outcome in (then, now))
    found = row(tmp_path, old, new)
    assert (found.direction, found.change) == (direction, None)
    assert found.why == f"{tmp_path}/old/qllm.json has no scores of single items"


def test_the_worst_come_first_and_what_is_gone_is_listed(tmp_path: Path) -> None:
    names = ("same", "worse", "lost")
    old = report(tmp_path / "old", *(judged(RIGHT, benchmark=name) for name in (*names, "gone")))
    changed = zip(names, (0, 8, 40), strict=True)
    new = report(tmp_path / "new", *(judged(worse_by(lost), benchmark=name) for name, lost in changed), BASELINE)
    assert [found.direction for found in compare(old, new)] == ["lost", "worse", "same", "new", "gone"]


def test_the_baseline_is_compared_with_itself(tmp_path: Path) -> None:
    def own(scores: list[float]) -> Record:
        return replace(BASELINE, scores=Scores(IDS, scores).to_json())

    found = row(tmp_path, own(RIGHT), own(worse_by(40)))
    assert found.direction == Direction.WORSE
    assert found.change is not None
    assert (found.change.broken, found.change.mended) == (40, 0)
