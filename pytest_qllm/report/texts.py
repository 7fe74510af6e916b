"""texts.json.gz: what was asked and answered, item by item, beside qllm.json: for people to see what changed.

Its schema is docs/reference/qllm-json.md. Prompts are there once for each benchmark, answers once for each regime.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.report import sidecar
from pytest_qllm.report.items import BASELINE

if TYPE_CHECKING:
    from pytest_qllm.report import wire

SCHEMA = "pytest-qllm-texts/1"
NAME = "texts.json.gz"


@dataclass(frozen=True)
class Asked:
    """One item as it was asked.

    Attributes:
        id: the item's hash, as in items.json.gz.
        prompt: the context, without what all items of its subset begin with.
        beginning: that: the shots, mostly.
        choices: continuations among which the model chooses; empty for a generation and a perplexity.
        target: index of the right choice, or the text of the right answer; None where there is none.
        subset: the subset that it is from; empty if the benchmark has none.
    """

    id: str
    prompt: str
    beginning: str = ""
    choices: Sequence[str] = ()
    target: int | str | None = None
    subset: str = ""


@dataclass(frozen=True)
class Answer:
    """What a model said to one item.

    Attributes:
        answer: index of the choice on which the metric rests, the generated text, or None for a perplexity. Where
            there is one choice only: 1 if the model would have said it, else 0.
        likelihoods: log-likelihood of each choice in nats.
        hit_limit: whether a generation was ended by its limit of tokens.
    """

    answer: int | str | None
    likelihoods: Sequence[float] = ()
    hit_limit: bool = False


@dataclass(frozen=True)
class Texts:
    """Of one test: its items, and what the baseline and its regime answered (``candidate`` empty for a baseline)."""

    asked: Sequence[Asked]
    baseline: Sequence[Answer]
    candidate: Sequence[Answer] = ()

    def packed(self) -> str:
        """As one short string, which is all that other plugins see of it on a test's report."""
        content = {name: [vars(one) for one in getattr(self, name)] for name in ("asked", "baseline", "candidate")}
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        return base64.b64encode(gzip.compress(text.encode(), compresslevel=1, mtime=0)).decode()  # for the way only

    @classmethod
    def unpack(cls, packed: str) -> Texts:
        content = json.loads(gzip.decompress(base64.b64decode(packed)))
        asked = [Asked(**one) for one in content["asked"]]
        return cls(asked, *([Answer(**one) for one in content[name]] for name in ("baseline", "candidate")))


def document(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a session's records asked and were answered, as JSON content, sorted by benchmark."""
    tables: dict[str, _Table] = {}
    for record in sorted(records, key=lambda record: (record["benchmark"], record["metric"], record["regime"])):
        if record.get("texts"):
            table = tables.setdefault(record["benchmark"], _Table())
            table.add(record["metric"], record["regime"], Texts.unpack(record["texts"]))
    return {
        "schema": SCHEMA,
        "benchmarks": [{"benchmark": name, **table.to_json()} for name, table in sorted(tables.items())],
    }


def read(path: Path, sha256: str) -> list[dict[str, Any]]:
    """The entries of such a file.

    Raises:
        QllmError: as ``sidecar.read``.
    """
    return sidecar.read(path, sha256, SCHEMA, "prompts and answers")


def merged(shards: Sequence[tuple[str, Sequence[wire.Texts]]]) -> dict[str, Any]:
    """What several shards of one run asked and were answered, as one file's content; of two answers the first."""
    tables: dict[str, _Table] = {}
    for _, found in shards:
        for texts in found:
            tables.setdefault(texts.benchmark, _Table()).take(texts)
    return {
        "schema": SCHEMA,
        "benchmarks": [{"benchmark": name, **table.to_json()} for name, table in sorted(tables.items())],
    }


@dataclass
class _Table:
    """One benchmark: all items that any of its tests asked, and the answers of each metric and regime."""

    asked: dict[str, Asked] = field(default_factory=dict)
    answers: dict[tuple[str, str], dict[str, Answer]] = field(default_factory=dict)

    def add(self, metric: str, regime: str, texts: Texts) -> None:
        for one in texts.asked:
            self.asked.setdefault(one.id, one)
        for name, answers in ((BASELINE, texts.baseline), (regime, texts.candidate)):
            if answers:
                known = self.answers.setdefault((metric, name), {})
                known.update(zip([one.id for one in texts.asked], answers, strict=True))

    def take(self, texts: wire.Texts) -> None:
        """Add what was read from a file."""
        nothing = (None,) * len(texts.items)
        columns = (
            texts.beginning or nothing,
            texts.choices or nothing,
            texts.targets or nothing,
            texts.subsets or nothing,
        )
        for one, prompt, at, choices, target, subset in zip(texts.items, texts.prompts, *columns, strict=True):
            beginning = "" if at is None else texts.beginnings[at]
            self.asked.setdefault(one, Asked(one, prompt, beginning, choices or (), target, subset or ""))
        for given in texts.answers:
            known = self.answers.setdefault((given.metric, given.regime), {})
            likelihoods = given.likelihoods or nothing
            for at, (one, answer, values) in enumerate(zip(texts.items, given.answers, likelihoods, strict=True)):
                if answer is not None or values is not None:
                    known.setdefault(one, Answer(answer, values or (), at in given.hit_limit))

    def to_json(self) -> dict[str, Any]:
        """Columns in the order of ``items``; what no item has is None as a whole."""
        asked = list(self.asked.values())
        beginnings = list(dict.fromkeys(one.beginning for one in asked if one.beginning))
        place = {text: at for at, text in enumerate(beginnings)}
        return {
            "items": [one.id for one in asked],
            "beginnings": beginnings,
            "beginning": _column([place.get(one.beginning) for one in asked]),
            "prompts": [one.prompt for one in asked],
            "choices": _column([list(one.choices) or None for one in asked]),
            "targets": _column([one.target for one in asked]),
            "subsets": _column([one.subset or None for one in asked]),
            "answers": [self._answers(*key, known) for key, known in sorted(self.answers.items())],
        }

    def _answers(self, metric: str, regime: str, known: Mapping[str, Answer]) -> dict[str, Any]:
        """One regime's; an item that was not asked of it has null in both columns."""
        found = [known.get(one) for one in self.asked]
        return {
            "metric": metric,
            "regime": regime,
            "answers": [None if one is None else one.answer for one in found],
            "likelihoods": _column([[round(v, 3) for v in one.likelihoods] or None if one else None for one in found]),
            "hit_limit": [at for at, one in enumerate(found) if one is not None and one.hit_limit],
        }


def _column(values: Sequence[Any]) -> list[Any] | None:
    return None if all(value is None for value in values) else list(values)
