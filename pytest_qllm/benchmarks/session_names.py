"""Benchmarks as the tests and the tables of one session call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark, BenchmarkCatalog
from pytest_qllm.benchmarks.elsewhere import TaskFiles
from pytest_qllm.benchmarks.own_score import Scorer, scored_by
from pytest_qllm.errors import QllmError


class SessionNames:
    """Finds a benchmark by what it is called: in the catalog, among lm-eval's tasks, or as a file of the user's.

    Args:
        added: benchmarks of other plugins.
        files: finds what no catalog lists.
    """

    def __init__(self, added: Iterable[Benchmark], files: TaskFiles) -> None:
        self.catalog = BenchmarkCatalog(added, files)
        self.files = files
        self._called: dict[str, str] = {}

    def get(self, name: str, score: Scorer | None = None) -> Benchmark:
        """The benchmark of a name or a path, scored by a function of the user's if there is one.

        Raises:
            QllmError: if there is none, or another file of this session has its name already.
        """
        found = self._own(name, scored=score is not None) or self.catalog.get(name)
        other = self._called.setdefault(found.name, name)
        if found.own and other != name:
            raise QllmError(f"{name} and {other} would both be called {found.name!r} in the report: rename one")
        return found if score is None else scored_by(found, score)

    def kinds(self, names: Iterable[str]) -> dict[str, str]:
        """Kind of metric of each benchmark of the catalog, and of those of these names that are found elsewhere."""
        known = {one.name: one.kind for one in self.catalog}
        found = [self._mentioned(name) for name in names if name not in known]
        return {**known, **{one.name: one.kind for one in found if one is not None}}

    def renamed(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """A table by benchmark, with the name of each file in the place of its path."""
        found = {name: self._mentioned(name) if Path(name).suffix else None for name in table}
        return {name if one is None else one.name: table[name] for name, one in found.items()}

    def _mentioned(self, name: str) -> Benchmark | None:
        """What a table means, if it means anything: what is wrong with it is told where it is gated."""
        try:
            return self._own(name, scored=False) or self.files.find(name)
        except QllmError:
            return None

    def _own(self, name: str, *, scored: bool) -> Benchmark | None:
        """A file of the user's; one that is called as a benchmark of the catalog is called by its path."""
        if not self.files.is_path(name):
            return None
        found = self.files.find(name, scored=scored)
        if found is not None and any(found.name == one.name for one in self.catalog):
            return replace(found, name=str(Path(name).with_suffix("")))
        return found
