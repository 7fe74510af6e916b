"""What a killed process leaves of quanto's compilation keeps nobody waiting."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

quanto = pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")


def test_an_old_lock_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optimum.quanto.library import extensions

    from pytest_qllm.regimes.backends import quanto as backend

    lock = tmp_path / "lock"
    lock.touch()
    old = time.time() - backend.COMPILES - 1
    os.utime(lock, (old, old))
    seen: list[bool] = []

    class Compiled(SimpleNamespace):
        @property
        def lib(self) -> object:
            seen.append(lock.exists())
            return self

    monkeypatch.setattr(extensions, "get_extension", lambda _: Compiled(build_directory=str(tmp_path)))
    backend._load_unpacking()
    assert seen == [False]
