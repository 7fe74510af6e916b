"""items.json.gz: the scores of single items, found by what the items are."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.report import items, sidecar
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import write
from pytest_qllm.report.record import Record

RECORD = Record("m", "mine", "noise", 8, "piqa", "knowledge", "acc", "difference", 3, 0.65, outcome="PASS")


def told(scores: Scores, **fields: object) -> dict[str, object]:
    return replace(RECORD, scores=scores.to_json(), **fields).to_json()


def table(*records: dict[str, object]) -> dict[str, object]:
    (only,) = items.document(records)["benchmarks"]
    return dict(only)


def test_columns_in_the_order_of_the_items() -> None:
    found = table(told(Scores(("a", "b", "c"), (1.0, 0.0, 1.0), (1.0, 1.0, 0.5))))
    assert found["items"] == ["a", "b", "c"]
    assert found["scores"] == {"fp16": [1, 0, 1], "mine": [1, 1, 0.5]}
    assert found["weights"] is found["clusters"] is None


def test_a_regime_that_stopped_early_has_a_shorter_column() -> None:
    baseline = told(Scores(("a", "b", "c"), (1.0, 0.0, 1.0)), regime="fp16", outcome=None)
    found = table(told(Scores(("a", "b"), (1.0, 0.0), (0.0, 0.0))), baseline)
    assert found["scores"] == {"fp16": [1, 0, 1], "mine": [0, 0]}


def test_an_item_in_between_that_was_not_measured_is_null() -> None:
    first = told(Scores(("a", "b", "c"), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), regime="first")
    found = table(first, told(Scores(("a", "c"), (1.0, 1.0), (0.0, 0.0))))
    assert found["scores"]["mine"] == [0, None, 0]


def test_tokens_and_clusters_go_with_the_items() -> None:
    found = table(told(Scores(("a", "b"), (-3.5, -4.0), (-3.5, -4.0), (120.0, 80.0), ("law", "law"))))
    assert (found["weights"], found["clusters"]) == ([120, 80], ["law", "law"])


def test_the_bytes_do_not_depend_on_the_order_of_the_tests() -> None:
    one, other = told(Scores(("a",), (1.0,), (1.0,))), told(Scores(("a",), (1.0,), (0.0,)), benchmark="arc")
    assert sidecar.encode(items.document([one, other])) == sidecar.encode(items.document([other, one]))


def test_what_was_written_can_be_read_and_only_that(tmp_path: Path) -> None:
    file = tmp_path / "reports/qllm.json"
    write(file, [told(Scores(("a",), (1.0,), (0.0,)))], [], {"time": "2026-11-22"})
    content = json.loads(file.read_text())
    beside = file.parent / content["items"]["file"]
    assert content["items"]["sha256"] == sha256(beside.read_bytes()).hexdigest()
    (entry,) = items.read(beside, content["items"]["sha256"])
    assert entry["scores"]["mine"] == [0]
    assert "scores" not in content["verdicts"][0]
    with pytest.raises(QllmError, match="not the file that was written with the qllm"):
        items.read(beside, "0" * 64)


def test_without_scores_there_is_no_file_and_no_old_one(tmp_path: Path) -> None:
    (tmp_path / items.NAME).write_bytes(b"of another session")
    write(tmp_path / "qllm.json", [], [{"test": "t", "regime": "mine", "message": "no"}], {})
    assert json.loads((tmp_path / "qllm.json").read_text())["items"] is None
    assert not (tmp_path / items.NAME).exists()
