"""Texts to calibrate with, from a file of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_qllm import calibration
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store


@pytest.fixture
def cache(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def test_paragraphs_of_a_text_file_each_once(tmp_path: Path, cache: Store) -> None:
    (tmp_path / "mine.txt").write_text("one\n\ntwo\n\n\n\none\n\n  \n\nthree")
    assert calibration.texts(str(tmp_path / "mine.txt"), cache) == ["one", "two", "three"]


def test_texts_of_json_lines(tmp_path: Path, cache: Store) -> None:
    lines = [json.dumps({"text": text, "more": 1}) for text in ("one", "two\n\nparagraphs")]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines) + "\n")
    assert calibration.texts(str(tmp_path / "mine.jsonl"), cache) == ["one", "two\n\nparagraphs"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.txt", b"", "is empty"),
        ("mine.txt", b"\n\n  \n\n", "is empty"),
        ("mine.jsonl", b"", "is empty"),
        ("mine.jsonl", b"{", "cannot read the calibration file"),
        ("mine.jsonl", b'{"content": 1}', "KeyError: 'text'"),
        ("mine.txt", b"\xff\xfe", "cannot read the calibration file"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, cache: Store, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QllmError) as refused:
        calibration.texts(str(tmp_path / name), cache)
    assert words in str(refused.value)
    assert name in str(refused.value)


def test_what_is_neither_a_set_nor_a_file_names_the_sets(cache: Store) -> None:
    with pytest.raises(QllmError, match="squad, instructions, code, papers"):
        calibration.identity("alpacas")


def test_a_changed_file_is_another_identity(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("one")
    before = calibration.identity(str(file))
    file.write_text("two")
    assert calibration.identity(str(file)) != before
    assert calibration.identity("code") == "code"
