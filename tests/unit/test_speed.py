"""How fast this machine measured, from what the store remembers."""

from __future__ import annotations

import pytest

from pytest_qllm.speed import Speeds
from pytest_qllm.store import Store


@pytest.fixture
def speeds(tmp_path, monkeypatch) -> Speeds:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    return Speeds(Store(tmp_path), ["weights", "float32"], 4)


def test_nothing_is_known_before_something_was_measured(speeds):
    assert speeds.seconds("dense", "multiple_choice", 1000) is None


def test_nothing_to_compute_takes_no_time_anyhow(speeds):
    assert speeds.seconds("dense", "multiple_choice", 0) == 0


def test_measurements_add_up(speeds):
    speeds.add("dense", "multiple_choice", 100, 1.0)
    speeds.add("dense", "loglikelihood", 300, 1.0)
    assert speeds.seconds("dense", "multiple_choice", 1000) == pytest.approx(5.0)


def test_kernels_and_kinds_of_request_are_kept_apart(speeds):
    speeds.add("dense", "multiple_choice", 100, 1.0)
    assert speeds.seconds("bnb-int8", "multiple_choice", 100) is None
    assert speeds.seconds("dense", "generate_until", 100) is None
    assert Speeds(speeds.store, ["others", "float32"], 4).seconds("dense", "multiple_choice", 100) is None


def test_a_worker_has_a_share_of_the_machine(speeds):
    Speeds(speeds.store, speeds.identity, 1).add("dense", "multiple_choice", 100, 4.0)
    assert speeds.seconds("dense", "multiple_choice", 100) == pytest.approx(1.0)
