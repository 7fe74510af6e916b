"""The store: whole or not at all, made once, and one line when the disk refuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store, digest, file_digest


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def refuse(number: int):
    """A function that fails as the operating system does."""

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


class TestDigest:
    def test_is_the_same_whatever_the_order_of_the_keys(self):
        assert digest({"a": 1, "b": [2.5, None]}) == digest({"b": [2.5, None], "a": 1})

    @pytest.mark.parametrize("other", [{"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {}, None])
    def test_differs_with_the_content(self, other):
        assert digest(other) != digest({"a": 1})

    def test_of_a_file_is_its_sha256(self, tmp_path):
        (tmp_path / "file").write_bytes(b"abc")
        assert file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class TestJson:
    @settings(max_examples=30, deadline=None, derandomize=True)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=8,
        )
    )
    def test_what_is_written_is_read(self, tmp_path_factory, content):
        store = Store(tmp_path_factory.getbasetemp() / "store")
        store.write(content, "kind", "key")
        assert store.read("kind", "key") == content

    def test_nothing_is_none(self, store):
        assert store.read("kind", "key") is None

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda text: "", id="empty"),
            pytest.param(lambda text: text[:-5], id="cut off"),
            pytest.param(lambda text: text.replace("0.5", "0.6"), id="another value"),
            pytest.param(lambda text: text.replace('"sha"', '"sah"'), id="no hash"),
            pytest.param(lambda text: '{"sha": "x"}', id="no content"),
            pytest.param(lambda text: "[1, 2]", id="a list"),
            pytest.param(lambda text: "null", id="null"),
            pytest.param(lambda text: b"\xff\xfe", id="no text"),
        ],
    )
    def test_a_damaged_file_is_none_and_can_be_written_again(self, store, damage):
        store.write([0.5], "kind", "key")
        file = store.root / "kind" / "key.json"
        damaged = damage(file.read_text())
        file.write_bytes(damaged if isinstance(damaged, bytes) else damaged.encode())
        assert store.read("kind", "key") is None
        store.write([0.5], "kind", "key")
        assert store.read("kind", "key") == [0.5]

    def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(self, store, monkeypatch):
        store.write("old", "kind", "key")
        monkeypatch.setattr(os, "replace", refuse(errno.ENOSPC))
        with pytest.raises(QllmError):
            store.write("new", "kind", "key")
        assert store.read("kind", "key") == "old"
        assert [file.name for file in (store.root / "kind").iterdir()] == ["key.json"]

    def test_an_interrupted_write_leaves_nothing(self, store, monkeypatch):
        def interrupt(_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.write("new", "kind", "key")
        assert list((store.root / "kind").iterdir()) == []

    def test_a_reader_never_sees_half_a_file(self, store):
        contents = [["a" * 100_000], ["b" * 200_000]]
        store.write(contents[0], "kind", "key")
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                for content in contents:
                    store.write(content, "kind", "key")

        with ThreadPoolExecutor(1) as pool:
            pool.submit(write)
            seen = [store.read("kind", "key") for _ in range(100)]
            stop.set()
        assert all(content in contents for content in seen)


class TestDirectory:
    def test_is_filled_once_and_kept(self, store):
        made = []

        def make(into: Path) -> None:
            made.append(into)
            (into / "weights").write_text("1")

        first = store.directory("artifacts", "a", make=make)
        assert store.directory("artifacts", "a", make=make) == first == store.root / "artifacts" / "a"
        assert len(made) == 1
        assert (first / "weights").read_text() == "1"

    def test_does_not_show_until_it_is_complete(self, store):
        def make(into: Path) -> None:
            assert not (store.root / "artifacts" / "a").exists()
            (into / "weights").write_text("1")

        store.directory("artifacts", "a", make=make)

    def test_a_failed_attempt_is_not_kept(self, store):
        def fail(into: Path) -> None:
            (into / "half").write_text("1")
            raise QllmError("no")

        with pytest.raises(QllmError, match="no"):
            store.directory("artifacts", "a", make=fail)
        path = store.directory("artifacts", "a", make=lambda into: (into / "whole").write_text("1"))
        assert [file.name for file in path.iterdir()] == ["whole"]

    def test_a_failed_attempt_leaves_no_bytes(self, store):
        def fail(into: Path) -> None:
            (into / "half").write_text("1" * 1000)
            raise QllmError("no")

        with pytest.raises(QllmError):
            store.directory("artifacts", "a", make=fail)
        assert list((store.root / "artifacts").iterdir()) == []

    def test_what_a_killed_run_left_unfinished_is_removed(self, store):
        left = store.root / "artifacts" / ".a.unfinished"
        left.mkdir(parents=True)
        (left / "half").write_text("1")
        path = store.directory("artifacts", "a", make=lambda into: (into / "whole").write_text("1"))
        assert [file.name for file in path.iterdir()] == ["whole"]
        assert not left.exists()

    def test_is_made_once_by_many_threads(self, store):
        made = []

        def make(into: Path) -> None:
            made.append(into)
            time.sleep(0.1)
            (into / "weights").write_text("1")

        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda _: store.directory("artifacts", "a", make=make), range(8)))
        assert len(made) == 1
        assert all((path / "weights").read_text() == "1" for path in paths)

    def test_is_made_once_by_many_processes(self, store, tmp_path):
        runs = [start(MAKE, store.root, tmp_path / "made") for _ in range(3)]
        assert [run.wait(30) for run in runs] == [0, 0, 0]
        assert (tmp_path / "made").read_text() == "made\n"


class TestLock:
    def test_is_freed_when_its_holder_is_killed(self, store, tmp_path):
        holder = start(HOLD, store.root, tmp_path / "held")
        while not (tmp_path / "held").exists():
            time.sleep(0.01)
        holder.kill()
        holder.wait()
        with store.lock("name"):
            pass

    def test_is_freed_after_an_error(self, store):
        with pytest.raises(ValueError, match="inside"), store.lock("name"):
            raise ValueError("inside")
        with store.lock("name"):
            pass

    def test_another_name_is_another_lock(self, store):
        with store.lock("one"), store.lock("other"):
            pass

    def test_waiting_is_told(self, tmp_path):
        lines: list[str] = []
        store = Store(tmp_path, lines.append)
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with Store(tmp_path).lock("name"):
                entered.set()
                leave.wait(10)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(hold)
            entered.wait(10)
            threading.Timer(1.2, leave.set).start()
            with store.lock("name"):
                assert lines == ["waiting for another process that is computing the same"]


class TestRefusals:
    """One line that names the place and the remedy."""

    def test_a_full_disk(self, store, monkeypatch):
        monkeypatch.setattr(os, "fsync", refuse(errno.ENOSPC))
        with pytest.raises(QllmError) as refused:
            store.write(1, "kind", "key")
        place = store.root / "kind" / "key.json"
        assert str(refused.value) == f"the disk of {place} is full; free some space or choose another --qllm-store"
        assert list((store.root / "kind").iterdir()) == []

    def test_a_full_disk_while_a_directory_is_filled(self, store):
        with pytest.raises(QllmError, match=r"^the disk of .*/artifacts/a is full; free some space"):
            store.directory("artifacts", "a", make=refuse(errno.ENOSPC))

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
    def test_a_place_that_cannot_be_written(self, store, monkeypatch, number):
        monkeypatch.setattr(os, "replace", refuse(number))
        with pytest.raises(QllmError) as refused:
            store.write(1, "kind", "key")
        line = str(refused.value)
        assert line.startswith(f"cannot write {store.root / 'kind' / 'key.json'}: {os.strerror(number)}")
        assert line.endswith("choose another --qllm-store")

    def test_a_full_quota(self, store, monkeypatch):
        monkeypatch.setattr(os, "fsync", refuse(errno.EDQUOT))
        with pytest.raises(QllmError, match="full"):
            store.write(1, "kind", "key")

    @pytest.mark.parametrize("place", ["file", "file/below"])
    def test_a_file_in_the_place_of_the_store(self, tmp_path, place):
        (tmp_path / "file").write_text("")
        with pytest.raises(QllmError, match=r"^cannot write .*/file.*; choose another --qllm-store$"):
            Store(tmp_path / place)

    def test_a_file_in_the_place_of_a_folder(self, store):
        (store.root / "kind").write_text("")
        assert store.read("kind", "key") is None
        with pytest.raises(QllmError, match=r"^cannot write .*/kind/key\.json: .*; choose another --qllm-store$"):
            store.write(1, "kind", "key")

    def test_what_is_no_matter_of_the_disk_is_raised_as_it_is(self, store, monkeypatch):
        monkeypatch.setattr(os, "replace", refuse(errno.ENOENT))
        with pytest.raises(FileNotFoundError):
            store.write(1, "kind", "key")


def start(program: str, root: Path, file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, json.dumps([str(root), str(file)])])


MAKE = """
import json, sys, time
from pathlib import Path
from pytest_qllm.store import Store

root, log = map(Path, json.loads(sys.argv[1]))

def make(into):
    with log.open("a") as file:
        file.write("made\\n")
    time.sleep(0.3)
    (into / "weights").write_text("1")

path = Store(root).directory("artifacts", "a", make=make)
assert (path / "weights").read_text() == "1"
"""

HOLD = """
import json, sys, time
from pathlib import Path
from pytest_qllm.store import Store

root, file = map(Path, json.loads(sys.argv[1]))
with Store(root).lock("name"):
    file.write_text("")
    time.sleep(60)
"""
