"""items.json.gz: the score of every item beside qllm.json, for a later release to compare itself with.

Its schema is docs/reference/qllm-json.md. The bytes depend on the scores alone: no time, no name in the archive.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError

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
    """

    ids: Sequence[str]
    baseline: Sequence[float]
    candidate: Sequence[float] = ()
    weights: Sequence[float] = ()
    clusters: Sequence[str] = ()

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


def encode(content: Mapping[str, Any]) -> bytes:
    """The file's bytes."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return gzip.compress(text.encode(), mtime=0)


def read(path: Path, sha256: str) -> list[dict[str, Any]]:
    """The entries of a file that ``encode`` made.

    Raises:
        QllmError: if there is no such file, it is damaged, of another schema, or not the one with that hash.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise QllmError(
            f"{path} cannot be read ({error.strerror}); a release's scores are there, keep it beside its qllm.json"
        ) from error
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise QllmError(f"{path} is not the file that was written with the qllm.json beside it")
    content = json.loads(gzip.decompress(packed))
    if content["schema"] != SCHEMA:
        raise QllmError(f"{path} has the schema {content['schema']!r}; expected {SCHEMA!r}")
    return list(content["benchmarks"])


class _Table:
    """One benchmark and metric: all items that any of its tests measured, and each regime's scores of them."""

    def __init__(self) -> None:
        self.place: dict[str, int] = {}
        self.weights: dict[str, float] = {}
        self.clusters: dict[str, str] = {}
        self.scores: dict[str, dict[str, float]] = {}

    def add(self, regime: str, scores: Scores) -> None:
        for one in scores.ids:
            self.place.setdefault(one, len(self.place))
        self.weights.update(zip(scores.ids, scores.weights, strict=False))
        self.clusters.update(zip(scores.ids, scores.clusters, strict=False))
        self.scores.setdefault(BASELINE, {}).update(zip(scores.ids, scores.baseline, strict=True))
        if scores.candidate:
            self.scores.setdefault(regime, {}).update(zip(scores.ids, scores.candidate, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Columns in the order of ``items``; a regime that has fewer of them ends early, or has null in between."""
        return {
            "items": list(self.place),
            "weights": [_short(self.weights[one]) for one in self.place] if self.weights else None,
            "clusters": [self.clusters[one] for one in self.place] if self.clusters else None,
            "scores": {regime: self._column(known) for regime, known in sorted(self.scores.items())},
        }

    def _column(self, known: Mapping[str, float]) -> list[float | None]:
        last = max((self.place[one] for one in known), default=-1)
        return [_short(known[one]) if one in known else None for one in list(self.place)[: last + 1]]


def _short(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)
