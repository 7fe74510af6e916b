"""A real model takes all processors that it may use; beside another worker's, each has its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _own_processors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A worker's share of the processors, for the processes that a test starts, too.

    Two models with two threads each on two processors wait for each other: 111 ms in place of 1 ms for a layer.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    all_of_them = os.sched_getaffinity(0)
    if workers == 1 or "efficiency" in request.node.path.name:
        yield
        return
    worker = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
    os.sched_setaffinity(0, set(sorted(all_of_them)[worker::workers]) or all_of_them)
    yield
    os.sched_setaffinity(0, all_of_them)
