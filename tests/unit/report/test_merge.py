"""Shards of one run: however a session is cut, the whole comes back, and its figures are of all verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import sessions

from pytest_qllm.errors import QllmError
from pytest_qllm.report import items, texts
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import document, write
from pytest_qllm.report.merge import beside, merged
from pytest_qllm.report.reader import Report, load_report, report_of
from pytest_qllm.report.record import Record
from pytest_qllm.report.texts import Answer, Asked, Texts

NOTHING = {items.NAME: None, texts.NAME: None}

PROVENANCE = {"time": "2026-01-02T03:04:05+00:00", "settings": {"seed": 0}}
BASELINE = Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 4, 0.75)
VERDICT = replace(BASELINE, outcome="FAIL", candidate=0.5, effect=-0.25, ci=(-0.5, 0.1), tolerance=0.04, p_fail=0.02)
IDS = list("abcd")
RIGHT = [1, 1, 1, 0]


def read(content: dict[str, Any], name: str) -> Report:
    return report_of(json.loads(json.dumps(content)), Path(name))


def sorted_parts(content: dict[str, Any]) -> dict[str, Any]:
    parts = ("baselines", "verdicts", "kernels", "errors", "pooled", "session")
    plain = json.loads(json.dumps({name: content[name] for name in parts}))
    return {
        name: sorted(part, key=lambda one: json.dumps(one, sort_keys=True)) if isinstance(part, list) else part
        for name, part in plain.items()
    }


@given(sessions(), st.integers(1, 3))
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_a_session_cut_by_regime_comes_back(session: dict[str, Any], count: int) -> None:
    contents = [{**one, "model": "m", "scores": None} for one in session["contents"]]
    errors = list({tuple(sorted(one.items())): one for one in session["errors"]}.values())
    kernels = list({one["regime"]: {**one, "model": "m"} for one in session["kernels"]}.values())
    whole = document(contents, errors, session["provenance"], kernels, exitstatus=1)
    regimes = sorted({one["regime"] for one in (*contents, *errors, *kernels)})

    def shard(at: int) -> Report:
        own = {name for place, name in enumerate(regimes) if place % count == at} | {"fp16"}
        parts = ([one for one in ones if one["regime"] in own] for ones in (contents, errors, kernels))
        mine, ours, theirs = parts
        return read(document(mine, ours, session["provenance"], theirs, exitstatus=1), f"{at}.json")

    shards = [shard(at) for at in range(count)]
    assert sorted_parts(merged(shards, NOTHING)) == sorted_parts(whole)
    assert sorted_parts(merged([*reversed(shards), *shards], NOTHING)) == sorted_parts(whole)


def saved(path: Path, *records: Record, exitstatus: int | None = 0) -> Report:
    write(path / "qllm.json", [one.to_json() for one in records], [], PROVENANCE, exitstatus=exitstatus)
    return load_report(path)


def scored(record: Record, candidate: list[float], ids: list[str] = IDS, **columns: Any) -> Record:
    baseline = RIGHT[: len(ids)]
    return replace(record, scores=Scores(ids, baseline, candidate, **columns).to_json())


def test_columns_of_items_come_together(tmp_path: Path) -> None:
    one = saved(tmp_path / "a", scored(BASELINE, []), scored(replace(VERDICT, regime="x"), [1, 0, 0, 0]))
    two = saved(tmp_path / "b", scored(replace(VERDICT, regime="y", n=2), [1, 1], ["a", "b"]))
    for order in ([one, two], [two, one]):
        (table,) = beside(order)[items.NAME]["benchmarks"]
        assert table["items"] == IDS
        assert table["scores"] == {"fp16": RIGHT, "x": [1, 0, 0, 0], "y": [1, 1]}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (scored(replace(VERDICT, regime="y"), [1, 0, 0, 0], ["a", "b", "c", "e"]), "3 of 4 in common"),
        (scored(replace(VERDICT, regime="y"), [1, 0], ["b", "a"]), "or in another order"),
        (scored(replace(VERDICT, regime="y"), [1, 0, 0, 0], clusters=list("1122")), "other clusters"),
        (scored(replace(VERDICT, regime="x"), [1, 1, 0, 0]), "another score of item b of piqa on x .1. than"),
    ],
)
def test_other_items_or_scores_are_refused(tmp_path: Path, other: Record, words: str) -> None:
    one = saved(tmp_path / "a", scored(replace(VERDICT, regime="x"), [1, 0, 0, 0]))
    with pytest.raises(QllmError, match=words) as caught:
        beside([one, saved(tmp_path / "b", other)])
    assert str(tmp_path / "b/qllm.json") in str(caught.value)


def test_what_was_asked_and_answered_comes_together(tmp_path: Path) -> None:
    asked = [Asked(one, f"prompt {one}", "shots", ("yes", "no"), 0, "s") for one in IDS]
    said = [Answer(1, (-1.0, -0.5)), *[Answer(0, (-0.5, -1.0))] * 3]
    whole = [
        replace(VERDICT, regime=name, texts=Texts(asked[:count], said[:count], said[:count]).packed())
        for name, count in (("x", 4), ("y", 2))
    ]
    shards = [saved(tmp_path / one.regime, one) for one in whole]
    assert beside(shards)[texts.NAME] == texts.document([one.to_json() for one in whole])
    assert beside(shards[::-1])[texts.NAME] == texts.document([one.to_json() for one in whole])


@pytest.mark.parametrize(
    ("found", "expected"),
    [((0, 0), 0), ((0, 1), 1), ((1, 2), 2), ((0, 3), 3), ((None, 0), None), ((None, 1), 1), ((None, 2), 2)],
)
def test_the_exit_status_of_the_whole(tmp_path: Path, found: tuple[int | None, ...], expected: int | None) -> None:
    shards = [
        saved(tmp_path / str(at), replace(VERDICT, regime=f"r{at}"), exitstatus=status)
        for at, status in enumerate(found)
    ]
    assert merged(shards, NOTHING)["exitstatus"] == expected


def test_a_library_that_only_one_shard_has_is_no_difference() -> None:
    contents = [
        document([replace(VERDICT, regime=name).to_json()], [], {**PROVENANCE, "versions": versions})
        for name, versions in (("x", {"torch": "2", "bitsandbytes": "0.50"}), ("y", {"torch": "2", "gptqmodel": "7"}))
    ]
    content = merged([read(one, f"{at}.json") for at, one in enumerate(contents)], NOTHING)
    assert content["provenance"]["versions"] == {"torch": "2", "bitsandbytes": "0.50", "gptqmodel": "7"}
