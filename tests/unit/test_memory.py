"""How much memory there is: the machine's, or what its container may use of it."""

from __future__ import annotations

import os

import pytest

from pytest_qllm import memory


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)


@pytest.mark.parametrize(
    ("limit", "found"), [("max\n", 4_096_000), ("1000000\n", 1_000_000), ("9999999999\n", 4_096_000), (None, 4_096_000)]
)
def test_a_container_s_limit_counts_where_there_is_one(monkeypatch, tmp_path, limit, found):
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(memory, "_CGROUP", file)
    assert memory.total("cpu") == found


def test_a_system_that_does_not_tell(monkeypatch):
    def silent(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", silent)
    assert memory.total("cpu") is None
