"""The order of tests, alone and under xdist: baselines first and spread out, then one regime to a worker.

Tests of efficiency come last, one at a time, while no other worker runs a test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_qllm.regimes.regime import BASELINE

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController


def regime_of(nodeid: str, regimes: Sequence[str]) -> str | None:
    """The regime in a test's id (``test_x[gptq-4bit]``, ``test_x[en-gptq-4bit]``), or None."""
    _, bracket, parameters = nodeid.rpartition("::")[2].partition("[")
    if not bracket:
        return None
    parameters = f"-{parameters.rpartition(']')[0]}-"  # xdist's loadgroup appends @group
    found = [name for name in regimes if f"-{name}-" in parameters]
    return max(found, key=len, default=None)


ALONE = "alone"
"""Last in the parameters of a test that runs alone: a scheduler knows no more of a test than its id."""

FIXTURE = "efficiency"
"""What tests that run alone ask for."""


def parameters(regimes: Sequence[str], fixtures: Sequence[str]) -> tuple[list[str], list[str]]:
    """Regimes of a test with those fixtures, the baseline first, and what its ids have of them.

    A cost is measured on both sides at once: there is nothing to do for the baseline by itself.
    """
    if FIXTURE not in fixtures:
        return list(regimes), list(regimes)
    return list(regimes[1:]), [f"{name}-{ALONE}" for name in regimes[1:]]


def is_alone(nodeid: str) -> bool:
    """Whether the test of that id runs while no other does."""
    _, bracket, parameters = nodeid.rpartition("::")[2].partition("[")
    return bool(bracket) and f"-{ALONE}-" in f"-{parameters.rpartition(']')[0]}-"


def order(items: list[pytest.Item], regimes: Sequence[str]) -> None:
    """Sort in place: other tests as they were, then the baseline's, then regime by regime; last what runs alone."""
    ranks = {name: rank for rank, name in enumerate(regimes)}

    def rank(item: pytest.Item) -> tuple[bool, int]:
        callspec = getattr(item, "callspec", None)
        own = -1 if callspec is None else ranks.get(callspec.params.get("qllm_regime", ""), -1)
        return FIXTURE in getattr(item, "fixturenames", ()), own

    items.sort(key=rank)


def make_scheduler(config: pytest.Config, log: Any, regimes: Sequence[str]) -> Any:
    """Our scheduler where the user leaves the choice to xdist (``-n 4``), else None: an explicit --dist is obeyed."""
    if config.getoption("dist", "no") != "load":
        return None
    return _scheduler_class()(config, log, regimes)


_GATE = ""
"""The unit that holds back those behind it. It has no tests, and keeps the queue from being empty: xdist would shut the
workers down at once, which makes each of them run whatever it holds."""


def _scheduler_class() -> Any:
    from xdist.scheduler import LoadScheduling, LoadScopeScheduling

    class RegimeScheduling(LoadScopeScheduling):  # type: ignore[misc]
        """Each test is a unit of its own; which comes next depends on the model that a worker has in memory.

        xdist asks a worker to hold one test beyond the running one, so a unit is chosen one test ahead.

        Tests that run alone wait behind a gate, a unit without tests, until no other test is left or running. One
        worker runs them all; it may hold the first of them before, so that it knows what follows its last other test.
        """

        def __init__(self, config: pytest.Config, log: Any, regimes: Sequence[str]) -> None:
            super().__init__(config, log)
            self.regimes = regimes
            self.current: dict[WorkerController, str | None] = {}
            self._last: WorkerController | None = None
            self._begun = False

        def _split_scope(self, nodeid: str) -> str:
            return nodeid

        def _assign_work_unit(self, node: WorkerController) -> None:
            if not self._begun:
                self._begun = True
                if any(map(is_alone, self.workqueue)):
                    self.workqueue[_GATE] = {}
            self._open()
            scope = self._next(node)
            if scope is None:
                return
            self.current[node] = regime_of(scope, self.regimes)
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

        def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
            super().mark_test_complete(node, item_index, duration)
            if self._last is not None and self._last is not node:
                self._reschedule(self._last)  # which may have waited for this

        def remove_node(self, node: WorkerController) -> str | None:
            # xdist's own puts finished tests and the crashed one back as well, which leaves its successor waiting.
            workload = self.assigned_work.pop(node)
            self.current.pop(node, None)
            unfinished = [nodeid for unit in workload.values() for nodeid, done in unit.items() if not done]
            if not unfinished:
                return None
            crashed: str = unfinished[0]
            for nodeid in unfinished[1:]:
                self.workqueue[nodeid] = {nodeid: False}
            for other in self.assigned_work:
                self._reschedule(other)
            return crashed

        def _reschedule(self, node: WorkerController) -> None:
            self._open()
            if not self.workqueue or not (self._others() or node is self._timer()):
                super()._reschedule(node) if not self.workqueue else node.shutdown()
            # Hold one test beside the running one, not two: what waits for a worker, no idle worker can take.
            while not node.shutting_down and self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
                before = len(self.workqueue)
                self._assign_work_unit(node)
                if len(self.workqueue) == before:
                    return  # what is left waits

        def _others(self) -> list[str]:
            """Tests in the queue that need not run alone."""
            return [scope for scope in self.workqueue if scope != _GATE and not is_alone(scope)]

        def _timer(self) -> WorkerController | None:
            """The worker that runs what runs alone."""
            if self._last not in self.assigned_work:
                self._last = next((node for node in self.assigned_work if not node.shutting_down), None)
            return self._last

        def _open(self) -> None:
            """Open the gate once no other test waits or is unfinished anywhere."""
            if _GATE in self.workqueue and not self._others() and not any(map(self._held, self.assigned_work)):
                del self.workqueue[_GATE]

        def _held(self, node: WorkerController) -> list[str]:
            """Unfinished tests of a worker that need not run alone."""
            units = self.assigned_work[node].values()
            return [nodeid for unit in units for nodeid, done in unit.items() if not done and not is_alone(nodeid)]

        def _next(self, node: WorkerController) -> str | None:
            others = self._others()
            if not others:
                alone = [scope for scope in self.workqueue if scope != _GATE]
                may = _GATE not in self.workqueue or (
                    self._held(node) and self._pending_of(self.assigned_work[node]) == 1
                )
                return alone[0] if alone and may and node is self._timer() else None
            waiting: dict[str | None, list[str]] = {}
            for scope in others:
                waiting.setdefault(regime_of(scope, self.regimes), []).append(scope)
            for first in (None, BASELINE):
                if first in waiting:
                    return waiting[first][0]
            mine = self.current.get(node)
            if mine in waiting:
                return waiting[mine][0]
            taken = {self.current.get(other) for other in self.assigned_work if other is not node}
            free = [name for name in waiting if name not in taken]
            # No regime is left to begin: help with the one that has most to do.
            chosen = free[0] if free else max(waiting, key=lambda name: len(waiting[name]))
            return waiting[chosen][0]

    class Scheduling:
        """RegimeScheduling where there are regimes among the tests, else what xdist does anyhow."""

        def __init__(self, config: pytest.Config, log: Any, regimes: Sequence[str]) -> None:
            self._inner: Any = RegimeScheduling(config, log, regimes)
            self._plain: Callable[[], Any] = lambda: LoadScheduling(config, log)
            self._regimes = regimes

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def schedule(self) -> None:
            inner = self._inner
            if inner.collection is None and isinstance(inner, RegimeScheduling):
                ids: list[str] = next(iter(inner.registered_collections.values()), [])
                if not any(regime_of(nodeid, self._regimes) for nodeid in ids):
                    self._inner = self._plain()
                    for node in inner.nodes:
                        self._inner.add_node(node)
                    for node, collection in inner.registered_collections.items():
                        self._inner.add_node_collection(node, collection)
            self._inner.schedule()

    return Scheduling
