"""What the keys of the store mean: beside the scores of a key stands whose they are, so that they can be read later.

A measurement's key is a hash. Tests know what they hash; `pytest-qllm analyze` does not, and reads it here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_qllm.measurement import ItemScore
from pytest_qllm.store import Store, digest

_PLACE = "subjects"


@dataclass(frozen=True)
class Subject:
    """Whose scores a key has, and one of the metrics that were asked of them.

    Attributes:
        model: as the user called it.
        bits: width by which it is judged.
        bytes: of all its tensors, the FP16 checkpoint's at two bytes a weight; None where no artifact tells.
        metric: the one that was asked for.
        kinds: kind of the metrics that the benchmark declares.
        identity: everything that went into the key.
        own_metric: whether the metric is the benchmark's own.
    """

    model: str
    regime: str
    method: str
    bits: int
    bytes: int | None
    benchmark: str
    dimension: str
    metric: str
    kind: str
    identity: Mapping[str, Any]
    kinds: Mapping[str, str] = field(default_factory=dict)
    own_metric: bool = True


def note(store: Store, key: str, subject: Subject) -> None:
    """Say whose scores the key has, unless that is written already.

    One file for each benchmark and metric: several of them may be scores of the same answers (BBQ's, ROUGE's).
    """
    content = asdict(subject)
    place = (_PLACE, key, digest([subject.benchmark, subject.metric]))
    known = store.read(*place)
    if known != content and not (known and content["bytes"] is None and {**known, "bytes": None} == content):
        store.write(content, *place)


def subjects(store: Store) -> Iterator[tuple[str, Subject]]:
    """Every key with its subjects, in the order of the keys; what is damaged or of an unknown form is passed over."""
    for path in sorted((store.root / _PLACE).glob("*/*.json")):
        content: Any = store.read(_PLACE, path.parent.name, path.stem)
        try:
            subject = Subject(**content)
        except TypeError:
            continue
        yield path.parent.name, subject


def unnamed(store: Store) -> int:
    """How many keys have scores and no subject: an earlier version measured them."""
    named = {path.parent.name for path in (store.root / _PLACE).glob("*/*.json")}
    return sum(path.name not in named for path in (store.root / "measurements").glob("*"))


def scores(store: Store, key: str) -> dict[str, ItemScore]:
    """Everything that was measured under a key, by the item's hash, in the order of the hashes."""
    found: dict[str, ItemScore] = {}
    for path in (store.root / "measurements" / key).glob("*.json"):
        for fields in store.read("measurements", key, path.stem) or ():
            found[fields["id"]] = ItemScore(**fields)
    return dict(sorted(found.items()))
