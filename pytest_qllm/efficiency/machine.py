"""The machine that is timed: what it is, who else uses it meanwhile, and that one session times at a time."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pytest_qllm.compute import processor


def cores() -> int:
    """Processors that this process may use: a timed test uses them all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def identity(device: str) -> dict[str, Any]:
    """What a timing depends on beside the software: no test is green by another machine's."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(device),
        "cores": cores(),
    }


@dataclass(frozen=True)
class Load:
    """What else went on while something was timed.

    Attributes:
        others: share of all the machine's processors that other processes used, from 0 to 1.
        stolen: share that a hypervisor took away.
    """

    others: float
    stolen: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


class Watch:
    """Measures the load between its making and ``load``."""

    def __init__(self) -> None:
        self._before = _times()

    def load(self) -> Load | None:
        """None where the time was too short for the system's clock."""
        whole, idle, stolen, own = (now - then for now, then in zip(_times(), self._before, strict=True))
        if whole < 0.2:
            return None
        busy = whole - idle - stolen
        return Load(max(0.0, min(1.0, (busy - own) / whole)), max(0.0, min(1.0, stolen / whole)))


def _times() -> tuple[float, float, float, float]:
    """CPU seconds of the machine, of them idle and stolen, and of this process."""
    import psutil

    every = psutil.cpu_times()
    whole = sum(every) - getattr(every, "guest", 0.0) - getattr(every, "guest_nice", 0.0)  # which user and nice hold
    own = time.process_time()
    return whole, every.idle + getattr(every, "iowait", 0.0), getattr(every, "steal", 0.0), own


@contextmanager
def alone(directory: Path, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold this user's lock of this machine: sessions that share it never time at once."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / f"timing-{platform.node()}.lock")
    try:
        lock.acquire(timeout=1)
    except Timeout:
        progress("waiting for another session that is timing on this machine")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
