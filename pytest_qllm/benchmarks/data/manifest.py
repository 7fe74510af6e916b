"""What items a data set has: their number and a hash over them, so that another set is an error and no other score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError

FILE = "manifest.json"
"""In a folder of the user's: its items are these, whatever others are known."""


@dataclass(frozen=True)
class Items:
    """The items of one split: how many, and a sha256 over the documents (``fingerprint``)."""

    items: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.items} items (sha256 {self.sha256[:12]})"


@dataclass(frozen=True)
class Manifest:
    """One known set of items of a data set.

    Attributes:
        source: where it is from, for people: a wheel, a repository with its commit, a folder.
        licence: of the data.
        subsets: by subset and split; the subset is empty where there are none.
    """

    source: str
    licence: str
    subsets: Mapping[str, Mapping[str, Items]]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Manifest:
        subsets = {
            subset: {split: Items(**found) for split, found in by_split.items()}
            for subset, by_split in content["subsets"].items()
        }
        return cls(content["source"], content["licence"], subsets)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def count(self, split: str) -> int:
        """Items of a split, over all subsets."""
        return sum(by_split[split].items for by_split in self.subsets.values() if split in by_split)

    def has(self, subset: str, found: Mapping[str, Items]) -> bool:
        """Whether these are its items; it may have splits that are not there."""
        own = self.subsets.get(subset, {})
        return bool(found) and all(own.get(split) == items for split, items in found.items())


def fingerprint(documents: Iterable[Mapping[str, Any]]) -> Items:
    """Number of documents, and a hash of them in any order: sha256 over the sorted hashes of their canonical JSON."""
    hashes = sorted(_hash(document) for document in documents)
    return Items(len(hashes), hashlib.sha256("\n".join(hashes).encode()).hexdigest())


def _hash(document: Mapping[str, Any]) -> str:
    """As ``store.digest``, of a document that may have a table's dates, which count as text."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:24]


@cache
def known_manifests() -> Mapping[str, tuple[Manifest, ...]]:
    """The known item sets by name of the data set; written by ``perf/manifests.py``."""
    content = json.loads((Path(__file__).parent / "manifests.json").read_text())
    return {name: tuple(map(Manifest.from_json, found)) for name, found in content.items()}


def own_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder of the user's, if there is one.

    Raises:
        QllmError: if it is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        return Manifest.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise QllmError(
            f"{file} is no manifest ({type(error).__name__}); write it anew with: pytest-qllm manifest {folder}"
        ) from error


def write_own(folder: Path, manifest: Manifest) -> None:
    (folder / FILE).write_text(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
