"""The order of tests, alone and under xdist: baselines first and spread out, then one regime to a worker."""

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


def order(items: list[pytest.Item], regimes: Sequence[str]) -> None:
    """Sort in place: other tests as they were, then the baseline's, then regime by regime."""
    ranks = {name: rank for rank, name in enumerate(regimes)}

    def rank(item: pytest.Item) -> int:
        callspec = getattr(item, "callspec", None)
        return -1 if callspec is None else ranks.get(callspec.params.get("qllm_regime", ""), -1)

    items.sort(key=rank)


def make_scheduler(config: pytest.Config, log: Any, regimes: Sequence[str]) -> Any:
    """Our scheduler where the user leaves the choice to xdist (``-n 4``), else None: an explicit --dist is obeyed."""
    if config.getoption("dist", "no") != "load":
        return None
    return _scheduler_class()(config, log, regimes)


def _scheduler_class() -> Any:
    from xdist.scheduler import LoadScheduling, LoadScopeScheduling

    class RegimeScheduling(LoadScopeScheduling):  # type: ignore[misc]
        """Each test is a unit of its own; which comes next depends on the model that a worker has in memory.

        xdist asks a worker to hold one test beyond the running one, so a unit is chosen one test ahead.
        """

        def __init__(self, config: pytest.Config, log: Any, regimes: Sequence[str]) -> None:
            super().__init__(config, log)
            self.regimes = regimes
            self.current: dict[WorkerController, str | None] = {}

        def _split_scope(self, nodeid: str) -> str:
            return nodeid

        def _assign_work_unit(self, node: WorkerController) -> None:
            scope = self._next(node)
            self.current[node] = regime_of(scope, self.regimes)
            self.workqueue.move_to_end(scope, last=False)
            super()._assign_work_unit(node)

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
            if not self.workqueue:
                super()._reschedule(node)
            # Hold one test beside the running one, not two: what waits for a worker, no idle worker can take.
            while not node.shutting_down and self.workqueue and self._pending_of(self.assigned_work[node]) < 2:
                self._assign_work_unit(node)

        def _next(self, node: WorkerController) -> str:
            waiting: dict[str | None, list[str]] = {}
            for scope in self.workqueue:
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
