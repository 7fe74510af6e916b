"""Where a worker computes."""

from __future__ import annotations

import pytest

from pytest_qllm import compute


@pytest.fixture
def three_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_cuda_works", lambda: True)
    monkeypatch.setattr(compute, "_has_nvidia", lambda: True)
    monkeypatch.setattr(compute, "_cuda_devices", lambda: 3)


@pytest.mark.usefixtures("three_devices")
class TestCudaDevices:
    @pytest.mark.parametrize("device", ["cuda", "auto"])
    def test_each_worker_has_its_own_and_then_they_share(self, device: str) -> None:
        chosen = [compute.choose("auto", device, 4, worker).device for worker in range(4)]
        assert chosen == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]

    def test_a_device_that_was_named_is_taken_by_all(self) -> None:
        assert {compute.choose("auto", "cuda:1", 4, worker).device for worker in range(4)} == {"cuda:1"}

    def test_the_dtype_there_is_float16(self) -> None:
        assert compute.choose("auto", "cuda", 1).dtype == "float16"


def test_cores_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute.os, "sched_getaffinity", lambda _: set(range(8)))
    assert [compute.choose("float32", "cpu", workers).threads for workers in (1, 2, 3, 16)] == [8, 4, 2, 1]
