"""Documents in files of the user's that a benchmark names itself: no other source is asked for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.data.places import TaskPlace
from pytest_qllm.store import Store, file_digest


@dataclass(frozen=True)
class OwnFiles(TaskPlace):
    """The files, as full paths; the task reads them itself."""

    files: tuple[str, ...] = ()

    def describe(self) -> str:
        return self.dataset

    def identity(self, cache: Store) -> Any | None:
        return [[Path(file).name, file_digest(Path(file))] for file in self.files]

    def is_here(self, cache: Store) -> bool:
        return True
