"""texts.json.gz: prompts once for each benchmark, answers once for each regime."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.report import texts
from pytest_qllm.report.json import write
from pytest_qllm.report.record import Record
from pytest_qllm.report.texts import Answer, Asked, Texts

RECORD = Record("m", "mine", "noise", 8, "mmlu", "knowledge", "acc", "difference", 3, 0.65, outcome="PASS")
ITEMS = [
    Asked("a", "2 + 2 =", "Shots.\n", (" 4", " 5"), 0, "algebra"),
    Asked("b", "3 + 3 =", "Shots.\n", (" 5", " 6"), 1, "algebra"),
    Asked("c", "Who was Ann?", "Others.\n", (" A", " B"), 0, "history"),
]
BEFORE = [Answer(0, (-1.0, -2.0)), Answer(1, (-2.0, -1.0)), Answer(1, (-2.0, -1.23456))]
AFTER = [Answer(1, (-2.0, -1.0)), Answer(1, (-2.0, -1.0)), Answer(0, (-1.0, -2.0))]


def told(found: Texts, **fields: object) -> dict[str, object]:
    return replace(RECORD, texts=found.packed(), **fields).to_json()


def table(*records: dict[str, object]) -> dict[str, object]:
    (only,) = texts.document(records)["benchmarks"]
    return dict(only)


def test_what_is_packed_comes_back() -> None:
    found = Texts.unpack(Texts(ITEMS, BEFORE, AFTER).packed())
    assert [(one.id, one.prompt, tuple(one.choices), one.target) for one in found.asked] == [
        (one.id, one.prompt, one.choices, one.target) for one in ITEMS
    ]
    assert [one.answer for one in found.candidate] == [1, 1, 0]


def test_prompts_once_and_answers_for_each_regime() -> None:
    baseline = told(Texts(ITEMS, BEFORE), regime="fp16", outcome=None)
    found = table(told(Texts(ITEMS[:2], BEFORE[:2], AFTER[:2])), baseline)
    assert (found["items"], found["prompts"]) == (["a", "b", "c"], [one.prompt for one in ITEMS])
    assert found["beginnings"] == ["Shots.\n", "Others.\n"]
    assert found["beginning"] == [0, 0, 1]
    assert found["subsets"] == ["algebra", "algebra", "history"]
    answers = {one["regime"]: one for one in found["answers"]}
    assert answers["fp16"]["answers"] == [0, 1, 1]
    assert answers["fp16"]["likelihoods"][2] == [-2, -1.235]
    assert answers["mine"]["answers"] == [1, 1, None]


def test_what_no_item_has_is_left_out() -> None:
    asked = [Asked("a", "Say something", target="x")]
    found = table(told(Texts(asked, [Answer("x")], [Answer("y", hit_limit=True)])))
    assert found["choices"] is found["subsets"] is found["beginning"] is None
    assert [(one["answers"], one["hit_limit"], one["likelihoods"]) for one in found["answers"]] == [
        (["x"], [], None),
        (["y"], [0], None),
    ]


def test_what_was_written_can_be_read_and_only_that(tmp_path: Path) -> None:
    file = tmp_path / "reports/qllm.json"
    write(file, [told(Texts(ITEMS, BEFORE, AFTER))], [], {"time": "2026-11-22"})
    content = json.loads(file.read_text())
    beside = file.parent / content["texts"]["file"]
    assert content["texts"]["sha256"] == sha256(beside.read_bytes()).hexdigest()
    (entry,) = texts.read(beside, content["texts"]["sha256"])
    assert entry["benchmark"] == "mmlu"
    assert "texts" not in content["verdicts"][0]
    with pytest.raises(QllmError, match="not the file that was written with the qllm"):
        texts.read(beside, "0" * 64)
    beside.unlink()
    with pytest.raises(QllmError, match="keep it beside its qllm"):
        texts.read(beside, content["texts"]["sha256"])


def test_without_answers_there_is_no_file_and_no_old_one(tmp_path: Path) -> None:
    (tmp_path / texts.NAME).write_bytes(b"of another session")
    write(tmp_path / "qllm.json", [RECORD.to_json()], [], {})
    assert json.loads((tmp_path / "qllm.json").read_text())["texts"] is None
    assert not (tmp_path / texts.NAME).exists()
