"""Where the documents of each benchmark come from: the first of the user's choices that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.data import directory
from pytest_qllm.benchmarks.data.forms import Document
from pytest_qllm.benchmarks.data.known import KNOWN, Known
from pytest_qllm.benchmarks.data.places import DirectoryPlace, HubPlace, Place, TaskPlace, WheelPlace
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark

__all__ = ["DataSource", "Document"]


@dataclass(frozen=True)
class DataSource:
    """Sources in the order in which they are asked, separated by commas.

    ``auto`` is the pinned wheel, or the hub where no wheel has the data; ``hub``; anything else is a directory.
    """

    choice: str
    cache: Store

    def identity(self, benchmark: Benchmark) -> Any | None:
        """What decides the documents, as JSON content, without reading them; None if only the hub can tell."""
        return self.place(benchmark).identity(self.cache)

    def is_here(self, benchmark: Benchmark) -> bool:
        """Whether the documents can be read without fetching anything."""
        return self.place(benchmark).is_here(self.cache)

    def describe(self, benchmark: Benchmark) -> str:
        return self.place(benchmark).describe()

    def splits(self, benchmark: Benchmark, subset: str) -> Mapping[str, Any] | None:
        """Datasets by split, with the hub's fields; None to let the task load its own from the hub.

        Raises:
            QllmError: if no source has the benchmark's data, or they cannot be read or fetched.
        """
        return self.place(benchmark).splits(subset, self.cache)

    def place(self, benchmark: Benchmark) -> Place:
        """The source that serves a benchmark.

        Raises:
            QllmError: if none of the choices has it.
        """
        for choice in self.choice.split(","):
            found = _place(choice, benchmark)
            if found is not None:
                return found
        folder = Path(self.choice.split(",")[0]).expanduser() / benchmark.data_name
        raise QllmError(
            f"--qllm-data {self.choice} has no folder {benchmark.data_name!r}; expected {folder}/SPLIT.jsonl "
            f"(or {directory.ENDINGS}), see docs/reference/data.md; or end with auto, as in {self.choice},auto"
        )


def _place(choice: str, benchmark: Benchmark) -> Place | None:
    known = KNOWN.get(benchmark.data_name)
    if choice not in ("auto", "hub"):
        return _directory(Path(choice).expanduser(), benchmark.data_name, known)
    wheel = benchmark.wheel or (known.wheel if known is not None else None)
    if choice == "auto" and wheel is not None:
        return WheelPlace(wheel)
    if known is None:
        return TaskPlace(benchmark.hub)
    return None if known.hub is None else HubPlace(known, known.hub, benchmark.subsets or ("",))


def _directory(root: Path, name: str, known: Known | None) -> Place | None:
    if (root / name).is_dir():
        return DirectoryPlace(root / name, known)
    if known is not None and known.folder and known.form is not None and known.form(root / known.folder, ""):
        return DirectoryPlace(root / known.folder, known)
    return None
