"""Shards of one run as one report: the same as if one session had run all of it, or refused with what differs.

The figures of the whole (Holm, pooled benchmarks) are computed anew over all verdicts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypeVar

from pytest_qllm.errors import QllmError
from pytest_qllm.report import items, texts
from pytest_qllm.report.answer import INTERRUPTED
from pytest_qllm.report.json import Listed, document
from pytest_qllm.report.reader import Report
from pytest_qllm.report.record import Record

SIDECARS: Mapping[str, Callable[[Sequence[Report]], dict[str, Any]]] = {
    items.NAME: lambda reports: items.merged([(str(one.path), one.items) for one in reports]),
    texts.NAME: lambda reports: texts.merged([(str(one.path), one.texts) for one in reports]),
}
"""How each file beside a report is merged, by its name."""

SETTINGS = (
    "model",
    "dtype",
    "device",
    "seed",
    "max_items",
    "alpha",
    "fixed_n",
    "inconclusive",
    "tolerances",
    "expected",
    "against",
    "exact_kernels",
)
"""Options that shards must share; those that are not here (regimes, paths, workers) are a shard's own."""

_MODEL = ("weights", "tokenizer")
"""Fields of a verdict's provenance that are the model's."""
_MEASURED = ("benchmark", "scores", "dtype", "device", "seed", "machine")
"""Fields of a verdict's provenance that decide the scores of a benchmark."""

One = TypeVar("One")


def beside(reports: Sequence[Report]) -> dict[str, dict[str, Any]]:
    """The contents of the files beside the merged report, by their names.

    Raises:
        QllmError: if a file is missing, or measured other items than another.
    """
    return {name: made(reports) for name, made in SIDECARS.items()}


def merged(reports: Sequence[Report], listed: Mapping[str, Listed]) -> dict[str, Any]:
    """The content of the merged qllm.json; ``listed`` are the files beside it.

    Raises:
        QllmError: if the reports are not shards of one run: what differs, and in which files.
    """
    for report in reports:
        if report.unknown:
            names = ", ".join(report.unknown[:3])
            raise QllmError(
                f"{report.path} has fields of a later pytest-qllm ({names}), which would be lost; merge with that"
            )
    _require_same(reports)
    verdicts = _united(
        reports, lambda report: report.verdicts, lambda one: (one.regime, one.benchmark, one.metric), _told
    )
    most = _most_items(reports)
    baselines = _united(
        reports,
        lambda report: [one for one in report.baselines if one.n == most[one.benchmark, one.metric]],
        lambda one: (one.regime, one.benchmark, one.metric),
        _told,
    )
    kernels = _united(
        reports, lambda report: report.kernels, lambda one: (one.regime,), lambda one: asdict(one.figures)
    )
    errors = dict.fromkeys(error for report in reports for error in report.errors)
    return document(
        [record.to_json() for record in (*baselines, *verdicts)],
        [asdict(error) for error in errors],
        _provenance(reports),
        [kernel.to_json() for kernel in kernels],
        reports[0].alpha,
        listed[items.NAME],
        _exitstatus([report.exitstatus for report in reports]),
        listed[texts.NAME],
    )


def _most_items(reports: Sequence[Report]) -> dict[tuple[str, str], int]:
    """On how many items the baseline's score is at most: each shard takes it as far as its own regimes need."""
    most: dict[tuple[str, str], int] = {}
    for one in (one for report in reports for one in report.baselines):
        most[one.benchmark, one.metric] = max(one.n, most.get((one.benchmark, one.metric), 0))
    return most


def _told(record: Record) -> dict[str, Any]:
    """What two records of the same must have in common; the rest depends on the session around them."""
    own = replace(record, p_pass_holm=None, p_fail_holm=None, noise=None, rerun="", provenance={})
    return {name: value for name, value in own.to_json().items() if value is not None}


def _united(
    reports: Sequence[Report],
    of: Callable[[Report], Iterable[One]],
    key: Callable[[One], tuple[Hashable, ...]],
    told: Callable[[One], dict[str, Any]],
) -> list[One]:
    """Everything once: what stands in two files must be the same in both.

    One session may ask the same twice, with two tolerances, say: then the other file must have both.
    """
    found: dict[tuple[Hashable, ...], tuple[Report, list[One]]] = {}
    for report in reports:
        own: dict[tuple[Hashable, ...], list[One]] = defaultdict(list)
        for one in of(report):
            own[key(one)].append(one)
        for place, ones in own.items():
            other, known = found.setdefault(place, (report, ones))
            left, right = (sorted(map(told, side), key=repr) for side in (known, ones))
            if left != right:
                differs = _different(left, right)
                raise QllmError(
                    f"{' on '.join(map(str, place[:2]))} is in {other.path} and in {report.path}, with another "
                    f"{differs}; expected shards of one run, in which each regime is measured once"
                )
    return [one for _, ones in found.values() for one in ones]


def _different(left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]) -> str:
    if len(left) != len(right):
        return f"number of verdicts ({len(left)} and {len(right)})"
    names = {
        name
        for one, other in zip(left, right, strict=True)
        for name in {*one, *other}
        if one.get(name) != other.get(name)
    }
    return ", ".join(sorted(names))


def _require_same(reports: Sequence[Report]) -> None:
    """Refuse other models, versions, and options that change a score or a verdict."""
    first = reports[0]
    for report in reports[1:]:
        for name in SETTINGS:
            _require(
                f"--qllm-{name.replace('_', '-')}", first, first.settings.get(name), report, report.settings.get(name)
            )
        own, versions = first.provenance.get("versions", {}), report.provenance.get("versions", {})
        for name in sorted({*own} & {*versions}):  # a shard need not have another shard's library
            _require(f"version of {name}", first, own[name], report, versions[name])
    models: dict[str, tuple[Report, Any]] = {}
    measured: dict[tuple[str, str, str], tuple[Report, Any]] = {}
    for report in reports:
        for record in report.records:
            _require("model", *models.setdefault("name", (report, record.model)), report, record.model)
            for name in _MODEL:
                if name in record.provenance:
                    value = record.provenance[name]
                    _require(f"model: other {name}", *models.setdefault(name, (report, value)), report, value)
            for name in _MEASURED:
                if name in record.provenance:
                    value = record.provenance[name]
                    known = measured.setdefault((record.benchmark, record.regime, name), (report, value))
                    _require(f"{name} of {record.benchmark}", *known, report, value)


def _require(what: str, first: Report, own: Any, report: Report, value: Any) -> None:
    if own != value and first is not report:
        raise QllmError(
            f"{first.path} and {report.path} have another {what}: {_short(own)} and {_short(value)}; "
            "expected shards of one run"
        )


def _short(value: Any) -> str:
    text = "none" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _provenance(reports: Sequence[Report]) -> dict[str, Any]:
    """The first shard's, with the regimes and libraries of all, and what is each shard's own."""
    shards = [shard for report in reports for shard in _shards(report)]
    versions = {name: value for report in reports for name, value in report.provenance.get("versions", {}).items()}
    regimes = dict.fromkeys(name for report in reports for name in report.settings.get("regimes", ()))
    return {
        **reports[0].provenance,
        "time": max(str(report.provenance["time"]) for report in reports),
        "versions": versions,
        "settings": {**reports[0].settings, "regimes": list(regimes)},
        "shards": [shard for at, shard in enumerate(shards) if shard not in shards[:at]],
    }


def _shards(report: Report) -> list[dict[str, Any]]:
    """What is a shard's own; of a report that was merged itself, what it was merged of."""
    if "shards" in report.provenance:
        return list(report.provenance["shards"])
    own = {name: report.provenance[name] for name in ("time", "python", "hardware") if name in report.provenance}
    return [{"file": str(report.path), **own, "regimes": list(report.settings.get("regimes", ()))}]


def _exitstatus(found: Sequence[int | None]) -> int | None:
    """pytest's of the whole: interrupted before failed before passed; not known where one is not."""
    known = [status for status in found if status is not None]
    cut = [status for status in known if status in INTERRUPTED]
    if cut:
        return max(cut)
    if any(known):
        return max(known)
    return None if len(known) < len(found) else 0
