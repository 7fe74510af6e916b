"""The machine that is timed, and that one session times at a time."""

from __future__ import annotations

import threading
import time

from pytest_qllm.efficiency import machine


def test_an_idle_process_sees_no_load_of_its_own():
    watch = machine.Watch()
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        sum(range(1000))
    load = watch.load()
    assert load is not None
    assert 0 <= load.others <= 1
    assert 0 <= load.stolen <= 1


def test_a_moment_is_too_short_to_tell():
    assert machine.Watch().load() is None


def test_an_identity_names_the_host_and_its_processors():
    found = machine.identity("cpu")
    assert found["host"]
    assert found["cores"] == machine.cores() >= 1


def test_two_sessions_take_turns(tmp_path):
    order: list[str] = []
    said: list[str] = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with machine.alone(tmp_path, said.append):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with machine.alone(tmp_path, said.append):
        inside.set()
        time.sleep(1.5)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert said == ["waiting for another session that is timing on this machine"]
