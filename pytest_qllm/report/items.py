"""items.json.gz: the score of every item beside qllm.json, for a later release to compare itself with.

Its schema is docs/reference/qllm-json.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError
from pytest_qllm.report import sidecar

if TYPE_CHECKING:
    from pytest_qllm.report.wire import Table

SCHEMA = "pytest-qllm-items/1"
NAME = "items.json.gz"
BASELINE = "fp16"


@dataclass(frozen=True)
class Scores:
    """What a test measured: the scores of its metric on the same items, of the baseline and of its regime.

    Attributes:
        ids: of the items, in the benchmark's order.
        baseline: score of each: 1 or 0, a probability, or the log-likelihood of a text in nats.
        candidate: the same of the regime; empty for a baseline's own test.
        weights: scored tokens of each text; empty where every item counts as one.
        clusters: cluster of each; empty where items are independent.
        chance: score expected of a random answer to each; empty where that is not known.
    """

    ids: Sequence[str]
    baseline: Sequence[float]
    candidate: Sequence[float] = ()
    weights: Sequence[float] = ()
    clusters: Sequence[str] = ()
    chance: Sequence[float] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def document(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The scores of a session's records as JSON content, sorted by benchmark and metric."""
    tables: dict[tuple[str, str], _Table] = {}
    for record in sorted(records, key=lambda record: (record["benchmark"], record["metric"], record["regime"])):
        if record.get("scores"):
            table = tables.setdefault((record["benchmark"], record["metric"]), _Table())
            table.add(record["regime"], Scores(**record["scores"]))
    return {
        "schema": SCHEMA,
        "benchmarks": [
            {"benchmark": benchmark, "metric": metric, **table.to_json()}
            for (benchmark, metric), table in sorted(tables.items())
        ],
    }


def read(path: Path, sha256: str) -> list[dict[str, Any]]:
    """The entries of such a file.

    Raises:
        QllmError: as ``sidecar.read``.
    """
    return sidecar.read(path, sha256, SCHEMA, "a release's scores")


def merged(shards: Sequence[tuple[str, Sequence[Table]]]) -> dict[str, Any]:
    """The scores of several shards of one run, by the name of their file, as one file's content.

    Raises:
        QllmError: if two of them measured other items of a benchmark, or scored the same item otherwise.
    """
    tables: dict[tuple[str, str], _Table] = {}
    first: dict[tuple[str, str], tuple[str, Table]] = {}
    for file, found in shards:
        for table in found:
            key = (table.benchmark, table.metric)
            other, known = first.setdefault(key, (file, table))
            _require_same_items(table, known, file, other)
            _require_same_scores(table, tables.setdefault(key, _Table()), file)
            if len(table.items) > len(known.items):
                first[key] = (file, table)
    return {
        "schema": SCHEMA,
        "benchmarks": [
            {"benchmark": key[0], "metric": key[1], **table.to_json()} for key, table in sorted(tables.items())
        ],
    }


def _require_same_items(table: Table, known: Table, file: str, other: str) -> None:
    """Shards ask the same items in the same order; one that was decided early has the first of them."""
    count = min(len(table.items), len(known.items))
    for name in ("items", "weights", "clusters", "chance"):
        own, theirs = getattr(table, name), getattr(known, name)
        if (own is None) != (theirs is None) or (own is not None and own[:count] != theirs[:count]):
            common = len(set(table.items) & set(known.items))
            what = f"{common} of {count} in common, or in another order" if name == "items" else f"other {name}"
            raise QllmError(
                f"{file} and {other} did not measure the same items of {table.benchmark} ({what}); "
                "shards of one run have the same data, seed and number of items"
            )


def _require_same_scores(table: Table, into: _Table, file: str) -> None:
    """Take the scores in; what was measured twice must be equal."""
    for regime, column in table.scores.items():
        known = into.scores.get(regime, {})
        for one, value in zip(table.items, column, strict=False):
            if value is not None and known.get(one, value) != value:
                raise QllmError(
                    f"{file} has another score of item {one} of {table.benchmark} on {regime} ({value:g}) than a file "
                    f"before it ({known[one]:g}); shards of one run share their baseline: one store"
                )
    into.take(table)


class _Table:
    """One benchmark and metric: all items that any of its tests measured, and each regime's scores of them."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self.weights: dict[str, float] = {}
        self.clusters: dict[str, str] = {}
        self.chance: dict[str, float] = {}
        self.scores: dict[str, dict[str, float]] = {}

    def add(self, regime: str, scores: Scores) -> None:
        for one in scores.ids:
            self.place.setdefault(one, len(self.place))
        self.weights.update(zip(scores.ids, scores.weights, strict=False))
        self.clusters.update(zip(scores.ids, scores.clusters, strict=False))
        self.chance.update(zip(scores.ids, scores.chance, strict=False))
        self.scores.setdefault(BASELINE, {}).update(zip(scores.ids, scores.baseline, strict=True))
        if scores.candidate:
            self.scores.setdefault(regime, {}).update(zip(scores.ids, scores.candidate, strict=True))

    def take(self, table: Table) -> None:
        """Add what was read from a file."""
        for one in table.items:
            self.place.setdefault(one, len(self.place))
        for name in ("weights", "clusters", "chance"):
            getattr(self, name).update(zip(table.items, getattr(table, name) or (), strict=False))
        for regime, column in table.scores.items():
            known = {one: value for one, value in zip(table.items, column, strict=False) if value is not None}
            self.scores.setdefault(regime, {}).update(known)

    def to_json(self) -> dict[str, Any]:
        """Columns in the order of ``items``; a regime that has fewer of them ends early, or has null in between."""
        return {
            "items": list(self.place),
            "weights": [_short(self.weights[one]) for one in self.place] if self.weights else None,
            "clusters": [self.clusters[one] for one in self.place] if self.clusters else None,
            "chance": [_short(self.chance[one]) for one in self.place] if self.chance else None,
            "scores": {regime: self._column(known) for regime, known in sorted(self.scores.items())},
        }

    def _column(self, known: Mapping[str, float]) -> list[float | None]:
        last = max((self.place[one] for one in known), default=-1)
        return [_short(known[one]) if one in known else None for one in list(self.place)[: last + 1]]


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)
