"""Where a data set is read from: a pinned wheel, the hub at a commit, or a folder of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pytest_qllm.benchmarks.data import directory, hub, wheel
from pytest_qllm.benchmarks.data.known import HubData, Known, WheelData
from pytest_qllm.benchmarks.data.manifest import Items, Manifest, known_manifests, own_manifest
from pytest_qllm.errors import QllmError
from pytest_qllm.models import wheels
from pytest_qllm.store import Store, digest, file_digest

Splits = Mapping[str, Any]
"""Datasets by split."""


class Place(Protocol):
    """One source of one data set."""

    @property
    def asked(self) -> tuple[str, ...]:
        """The splits that are asked or give shots; empty where all are."""

    def describe(self) -> str:
        """For people, and for the provenance of a measurement."""

    def identity(self, cache: Store) -> Any | None:
        """What decides the documents, as JSON content, without reading them; None if only the hub can tell."""

    def state(self, subset: str, cache: Store) -> Any | None:
        """What the items of a subset are read from, as JSON content: they are the same while this is; None: unknown."""

    def is_here(self, cache: Store) -> bool:
        """Whether the documents can be read without fetching anything."""

    def splits(self, subset: str, cache: Store) -> Splits | None:
        """Datasets by split; None where lm-eval's task loads its own."""

    def manifests(self) -> Sequence[Manifest] | None:
        """The item sets of which it has to have one; None where any set will do."""

    def remedy(self) -> str:
        """What a user can do whose items are others."""


@dataclass(frozen=True)
class WheelPlace:
    name: str
    data: WheelData
    known: Known | None

    @property
    def asked(self) -> tuple[str, ...]:
        return () if self.known is None else self.known.splits

    def describe(self) -> str:
        return f"wheel {self.data.wheel.requirement}"

    def identity(self, cache: Store) -> Any | None:
        return self.data.wheel.sha256

    def state(self, subset: str, cache: Store) -> Any | None:
        root = wheels.unpacked(self.data.wheel, cache) / self.data.wheel.root / self.data.path.format(subset=subset)
        return _states(root)

    def is_here(self, cache: Store) -> bool:
        return wheels.is_unpacked(self.data.wheel, cache)

    def splits(self, subset: str, cache: Store) -> Splits | None:
        return wheel.splits(self.data, subset, wheels.unpacked(self.data.wheel, cache))

    def manifests(self) -> Sequence[Manifest] | None:
        if self.known is None:
            return None
        return [one for one in known_manifests().get(self.name, ()) if one.source == self.describe()]

    def remedy(self) -> str:
        return "the unpacked wheel is damaged: delete it from the cache, and it is fetched again"


@dataclass(frozen=True)
class HubPlace:
    """A dataset at a commit, whose items are known by that: a set is only compared with what was read there before."""

    known: Known
    data: HubData
    subsets: tuple[str, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        return self.known.splits

    def describe(self) -> str:
        return str(self.data)

    def identity(self, cache: Store) -> Any | None:
        return [self.data.repo, self.data.revision] if self.data.revision else None

    def state(self, subset: str, cache: Store) -> Any | None:
        return self.identity(cache)

    def snapshot(self) -> tuple[Path, list[str]]:
        """The local copy of the repository, fetched if need be, and the files in it that count.

        Raises:
            QllmError: if they are not here and cannot be fetched.
        """
        folder, files = hub.snapshot(self.known, self.data, self.subsets)
        return folder, sorted({one for by_split in files.values() for names in by_split.values() for one in names})

    def is_here(self, cache: Store) -> bool:
        try:
            hub.snapshot(self.known, self.data, self.subsets, fetch=False)
        except QllmError:
            return False
        return True

    def splits(self, subset: str, cache: Store) -> Splits | None:
        return hub.splits(self.known, self.data, subset)

    def manifests(self) -> Sequence[Manifest] | None:
        found = [one for one in known_manifests().get(self.known.name, ()) if one.source == self.describe()]
        return found or None

    def remedy(self) -> str:
        return "the hub, or the library that reads it, gives others than before"


@dataclass(frozen=True)
class DirectoryPlace:
    name: str
    folder: Path
    known: Known | None

    @property
    def asked(self) -> tuple[str, ...]:
        return () if self.known is None else self.known.splits

    def describe(self) -> str:
        return str(self.folder)

    def identity(self, cache: Store) -> Any | None:
        return _digests(self.folder, cache)

    def state(self, subset: str, cache: Store) -> Any | None:
        return _states(self.folder, subset)

    def is_here(self, cache: Store) -> bool:
        return True

    def splits(self, subset: str, cache: Store) -> Splits | None:
        return directory.splits(self.folder, subset, None if self.known is None else self.known.form)

    def manifests(self) -> Sequence[Manifest] | None:
        own = own_manifest(self.folder)
        if own is not None:
            return [own]
        return None if self.known is None else known_manifests().get(self.name, ())

    def remedy(self) -> str:
        return f"if these are the items that are meant, say so with: pytest-qllm manifest {self.folder}"


@dataclass(frozen=True)
class TaskPlace:
    """The dataset that an lm-eval task names, which lm-eval loads from the hub as it is there today."""

    dataset: str

    @property
    def asked(self) -> tuple[str, ...]:
        return ()

    def describe(self) -> str:
        return f"hub {self.dataset} (no pinned revision)"

    def identity(self, cache: Store) -> Any | None:
        return None

    def state(self, subset: str, cache: Store) -> Any | None:
        return None

    def is_here(self, cache: Store) -> bool:
        return False

    def splits(self, subset: str, cache: Store) -> Splits | None:
        return None

    def manifests(self) -> Sequence[Manifest] | None:
        return None

    def remedy(self) -> str:
        return "what the task loads is not what it was"


_LARGE = 2**24
"""Bytes from which on a file is not read whenever somebody asks what it is."""


def _digests(root: Path, cache: Store) -> dict[str, str]:
    """sha256 of the files below a folder, by their path in it."""
    return {
        name: cache.digest_of(file) if file.stat().st_size > _LARGE else file_digest(file)
        for name, file in _files(root).items()
    }


def _states(root: Path, part: str = "") -> dict[str, list[int]]:
    """What changes when a file is written, of the files in whose path the part is: much quicker than their content.

    The inode's change time, which no program sets, is part of it: an edit in place is always seen.
    """
    stats = {name: file.stat() for name, file in _files(root).items() if part in name}
    return {name: [one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns] for name, one in stats.items()}


def _files(root: Path) -> dict[str, Path]:
    files = [root] if root.is_file() else [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {str(file.relative_to(root)): file for file in files}


def checked(place: Place, benchmark: str, subset: str, found: Mapping[str, Items], cache: Store) -> Manifest:
    """The manifest of which these items are.

    Args:
        found: by split, of those that count.

    Raises:
        QllmError: if they are those of none; it says what was expected, and what was found.
    """
    allowed = place.manifests()
    if allowed is None:
        made = Manifest(place.describe(), "", {subset: found})
        return _seen_before(place, benchmark, subset, made, cache) if isinstance(place, HubPlace) else made
    for manifest in allowed:
        if manifest.has(subset, found):
            return manifest
    raise QllmError(_other_items(place, benchmark, subset, found, allowed))


def _other_items(
    place: Place, benchmark: str, subset: str, found: Mapping[str, Items], allowed: Sequence[Manifest]
) -> str:
    expected = [
        f"{_listed(wanted)} of {manifest.source}" for manifest in allowed if (wanted := manifest.subsets.get(subset))
    ]
    where = f"{benchmark}, subset {subset}" if subset else benchmark
    return (
        f"{where}: the items in {place.describe()} are not the known ones: expected {' or '.join(expected) or 'none'}; "
        f"found {_listed(found)}; {place.remedy()}"
    )


def _listed(items: Mapping[str, Items]) -> str:
    return ", ".join(f"{split} {found}" for split, found in items.items())


def _seen_before(place: HubPlace, benchmark: str, subset: str, made: Manifest, cache: Store) -> Manifest:
    """Items of the hub whose hash nobody has written down: their number has to be right, and stay what it was."""
    found = made.subsets[subset]
    expected, split = place.data.items, next(iter(found))
    if place.subsets == ("",) and expected is not None and found[split].items != expected:
        raise QllmError(
            f"{benchmark}: {place.describe()} has {found[split].items} items in {split}, expected {expected}"
        )
    key = digest([place.known.name, place.data.repo, place.data.revision, place.data.config, subset])
    as_before(place, benchmark, subset, made, key, cache)
    return made


def as_before(place: Place, benchmark: str, subset: str, made: Manifest, key: str, cache: Store) -> None:
    """Remember the items that are read for the first time.

    Raises:
        QllmError: if other items are known under that key; it says where, for those who want to go on with these.
    """
    before = cache.read("seen", key)
    if before is None:
        cache.write(made.to_json(), "seen", key)
        return
    known, found = Manifest.from_json(before), made.subsets[subset]
    if not known.has(subset, found):
        refused = _other_items(place, benchmark, subset, found, [known])
        raise QllmError(f"{refused}; to go on with those found, delete {cache.place('seen', key)}")
