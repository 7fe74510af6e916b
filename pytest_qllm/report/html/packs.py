"""The single items inside the page: compressed, one pack for a benchmark's prompts, one for each regime's answers."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.report.reader import Report
from pytest_qllm.report.wire import Answers, Table, Texts


def plotly() -> str:
    """The plotting library's own script, as its package has it."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def packed_plotly() -> str:
    return packed(plotly())


def packed(text: str) -> str:
    """Letters that have no meaning in HTML."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def item_packs(report: Report) -> dict[str, str]:
    """By name: ``items/BENCHMARK`` and ``answers/BENCHMARK/METRIC/REGIME``; none of what has no scores.

    Raises:
        QllmError: if a file beside the report is missing or another one.
    """
    texts = {one.benchmark: one for one in report.texts}
    found: dict[str, str] = {}
    order: dict[str, dict[str, int]] = {}
    for table in report.items:
        place = order.setdefault(table.benchmark, {})
        known = texts.get(table.benchmark)
        for one in (*(known.items if known else ()), *table.items):
            place.setdefault(one, len(place))
    for benchmark, place in order.items():
        tables = [table for table in report.items if table.benchmark == benchmark]
        asked = _asked(list(place), texts.get(benchmark), tables)
        found[f"items/{benchmark}"] = _packed(asked)
        for table in tables:
            for regime in table.scores:
                answers = _answers(texts.get(benchmark), table.metric, regime)
                found[f"answers/{benchmark}/{table.metric}/{regime}"] = _packed(_column(place, table, regime, answers))
    return found


def explored(packs: Mapping[str, str], report: Report) -> set[tuple[str, str, str]]:
    """Benchmark, metric and regime of the records whose items can be compared with the baseline's."""

    def has(benchmark: str, metric: str, regime: str) -> bool:
        return f"answers/{benchmark}/{metric}/{regime}" in packs

    keys = {(one.benchmark, one.metric, one.regime) for one in report.verdicts if one.effect is not None}
    return {key for key in keys if has(*key) and has(key[0], key[1], BASELINE)}


def available(report: Report) -> tuple[dict[str, str], str]:
    """The packs, or none and the reason."""
    try:
        return item_packs(report), ""
    except QllmError as error:
        return {}, str(error)


def _asked(ids: Sequence[str], texts: Texts | None, tables: Sequence[Table]) -> dict[str, Any]:
    clusters: dict[str, str] = {}
    for table in tables:
        clusters.update(zip(table.items, table.clusters or (), strict=False))
    content: dict[str, Any] = {"items": ids}
    if clusters:
        content["clusters"] = [clusters.get(one) for one in ids]
    if texts is not None:
        for name in ("prompts", "beginnings", "beginning", "choices", "targets", "subsets"):
            content[name] = getattr(texts, name)
    return content


def _answers(texts: Texts | None, metric: str, regime: str) -> Answers | None:
    told = () if texts is None else texts.answers
    return next((one for one in told if (one.metric, one.regime) == (metric, regime)), None)


def _column(place: Mapping[str, int], table: Table, regime: str, answers: Answers | None) -> dict[str, Any]:
    """One regime's scores and answers, in the order of the benchmark's items."""
    scores: list[float | None] = [None] * len(place)
    for one, score in zip(table.items, table.scores[regime], strict=False):
        scores[place[one]] = score
    content: dict[str, Any] = {"scores": scores}
    if table.weights is not None:
        weights: list[float | None] = [None] * len(place)
        for one, weight in zip(table.items, table.weights, strict=True):
            weights[place[one]] = weight
        content["weights"] = weights
    if answers is not None:
        has_any = any(answer is not None for answer in answers.answers)
        content["answers"] = answers.answers if has_any else None
        content["likelihoods"] = answers.likelihoods
        content["hit_limit"] = answers.hit_limit
    return content


def _packed(content: Mapping[str, Any]) -> str:
    return packed(json.dumps(content, separators=(",", ":"), allow_nan=False))
