"""A previous release of the same model: its scores item by item, and what changed since then.

The items are those that both releases measured, found by the hash of document and requests, never by their place. They
are looked at once: what the previous release has cannot grow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError
from pytest_qllm.report import items
from pytest_qllm.report.trend import Change, Trend

if TYPE_CHECKING:
    from pytest_qllm.report.record import Record
    from pytest_qllm.verdict.kinds import Kind
    from pytest_qllm.verdict.verdict import Sample

_SCHEMA = "pytest-qllm/1"
_DECIDING = ("weights", "tokenizer", "regime", "kernels", "dtype", "device", "engine", "judge")
"""Fields of a verdict's provenance that a reader wants to know of when they changed."""


@dataclass(frozen=True)
class _Column:
    """Scores of one regime, by item; tokens of each text where it is one."""

    scores: Mapping[str, float]
    weights: Mapping[str, float]


class Previous:
    """The report of a previous release. Reading it imports no numpy, so that a bad file is refused at start-up."""

    def __init__(self, file: str, report: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> None:
        self.file = file
        self.time = str(report["provenance"]["time"])
        self._entries = entries
        self._told = {
            (one.get("regime", items.BASELINE), one["benchmark"]): one
            for one in (*report["baselines"], *report["verdicts"])
        }
        self._model = next((str(one["model"]) for one in self._told.values()), "")

    @classmethod
    def read(cls, path: Path, given: str) -> Previous:
        """The report in a qllm.json, with the items.json.gz beside it; ``given`` is how the user named it.

        Raises:
            QllmError: if one of the two is not there, or is not what it should be.
        """
        try:
            report = json.loads(path.read_text())
            if report["schema"] != _SCHEMA:
                raise QllmError(f"--qllm-against: {given} has the schema {report['schema']!r}; expected {_SCHEMA!r}")
            listed = report.get("items")
            if listed is None:
                raise QllmError(
                    f"--qllm-against: {given} has no scores of single items; it was written before {items.NAME} was "
                    "kept, or nothing was measured"
                )
            return cls(given, report, items.read(path.parent / items.NAME, listed["sha256"]))
        except OSError as error:
            raise QllmError(
                f"--qllm-against is {given!r}: {error.strerror}; expected the qllm.json of a release"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise QllmError(f"--qllm-against: {given} is no qllm.json of pytest-qllm ({_line(error)})") from error

    def compare(
        self, record: Record, kind: Kind, baseline: Sample, candidate: Sample | None, alpha: float = 0.05
    ) -> Trend:
        """What changed since then in the regime of a record (without ``candidate``: in the baseline).

        Not compared, with the reason: a regime, benchmark or metric that the previous release does not have, no common
        item, or texts that another tokenizer cut into other numbers of tokens. ``alpha`` is the error of each limit.
        """
        told = self._told.get((record.regime, record.benchmark), {})
        plain = Trend(
            self.file,
            self.time,
            str(told.get("model", self._model)),
            alpha=alpha,
            differs=_differences(told, record.provenance),
        )
        if kind in ("corpus", "bias"):
            reason = f"{record.metric} is a score of all texts together, and no text's own are kept to compare"
            return replace(plain, reason=reason, differs=())
        sample = baseline if candidate is None else candidate
        found = self._column(record.benchmark, record.metric, record.regime)
        if isinstance(found, str):
            return replace(plain, reason=found, differs=())
        common = [at for at, one in enumerate(sample.ids) if one in found.scores]
        plain = replace(plain, items=len(found.scores))
        reason = _unlike(sample, found, common)
        if reason:
            return replace(plain, reason=reason)
        before = self._column(record.benchmark, record.metric, items.BASELINE)
        relative = record.is_relative
        drift = None
        if not isinstance(before, str):
            drift = _change(kind, before, baseline, common, alpha=alpha, relative=relative)
        if candidate is None:
            return replace(plain, baseline=drift)
        change = _change(kind, found, candidate, common, alpha=alpha, relative=relative)
        trend = replace(plain, baseline=drift, regime=change)
        return _judged(trend, kind, record, *_pair(found, candidate, common))

    def _column(self, benchmark: str, metric: str, regime: str) -> _Column | str:
        """The scores of a regime, or why there are none."""
        entries = [one for one in self._entries if one["benchmark"] == benchmark]
        if not entries:
            return f"it has no {benchmark}"
        entry = next((one for one in entries if one["metric"] == metric), None)
        if entry is None:
            return f"it has {', '.join(str(one['metric']) for one in entries)} of {benchmark}, not {metric}"
        column = entry["scores"].get(regime)
        if column is None:
            return f"it has no {benchmark} of {regime}"
        weights = dict(zip(entry["items"], entry["weights"] or (), strict=False))
        scores = {one: value for one, value in zip(entry["items"], column, strict=False) if value is not None}
        return _Column(scores, weights)


def _judged(trend: Trend, kind: Kind, record: Record, then: Sample, now: Sample) -> Trend:
    from pytest_qllm.verdict.verdict import Outcome, at_ceiling, judge, lacks_signal

    assert record.tolerance is not None
    relative = record.is_relative
    if lacks_signal(then, kind, record.tolerance, relative=relative, alpha=trend.alpha) is not None:
        reason = "it was too close to chance for these items to tell a loss"
        return replace(trend, verdict=str(Outcome.NO_SIGNAL), reason=reason)
    alpha = trend.alpha
    verdict = judge(then, now, kind, record.tolerance, alpha=alpha, signal_alpha=alpha, relative=relative)
    verdict = at_ceiling(verdict, kind)
    evidence = verdict.evidence
    return replace(
        trend,
        verdict=str(verdict.outcome),
        reason=verdict.reason,
        p_pass=None if evidence is None else evidence.p_pass,
        p_fail=None if evidence is None else evidence.p_fail,
    )


def _change(
    kind: Kind, then: _Column, now: Sample, common: Sequence[int], *, alpha: float, relative: bool
) -> Change | None:
    """The effect with its limits; None where the previous release lacks one of the items."""
    from pytest_qllm.verdict.compare import compare, compare_relative
    from pytest_qllm.verdict.verdict import mean_score

    if any(now.ids[at] not in then.scores for at in common):
        return None
    before, after = _pair(then, now, common)
    if relative:
        found = compare_relative(kind, before, after, alpha)
    else:
        # The tolerance moves the p-values alone, which are not used here.
        found = compare(kind, before, after, 1.0 if kind.scale == "ratio" else 0.0, alpha)
    return Change(
        len(common),
        mean_score(before, kind),
        mean_score(after, kind),
        found.effect,
        (found.low if isfinite(found.low) else None, found.high if isfinite(found.high) else None),
        found.method,
        found.broken,
        found.mended,
    )


def _pair(then: _Column, now: Sample, common: Sequence[int]) -> tuple[Sample, Sample]:
    """Both releases on their common items, in today's order and clusters."""
    import numpy as np

    from pytest_qllm.verdict.verdict import Sample

    places = np.asarray(common, dtype=np.intp)
    ids = tuple(now.ids[at] for at in common)
    clusters = None if now.clusters is None else tuple(now.clusters[at] for at in common)
    weights, chance = now.weights[places], now.chance[places]
    before = np.array([then.scores[one] for one in ids], dtype=np.float64)
    return Sample(ids, before, weights, chance, clusters), Sample(ids, now.scores[places], weights, chance, clusters)


def _unlike(sample: Sample, then: _Column, common: Sequence[int]) -> str:
    """Why the scores cannot be compared, or nothing."""
    if not common:
        return "none of its items is asked today: other data, another task version or another prompt"
    other = sum(then.weights.get(sample.ids[at], sample.weights[at]) != sample.weights[at] for at in common)
    if other:
        return f"{other} of {len(common)} texts had another number of tokens then: another tokenizer"
    return ""


def _differences(told: Mapping[str, Any], provenance: Mapping[str, Any]) -> tuple[str, ...]:
    then = told.get("provenance", {})
    return tuple(name for name in _DECIDING if name in then and then[name] != provenance.get(name))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
