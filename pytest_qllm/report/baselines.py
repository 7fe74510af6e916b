"""The baseline's score in a report: on the most items that a test of the session measured.

A baseline's own test goes ahead with the first items, and the regimes take it on as far as they need. Which of them
came first does not matter: so many items of the fixed order have one score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_qllm.report.record import Record
from pytest_qllm.report.trend import Trend


def on_most_items(records: Sequence[Record]) -> list[Record]:
    """The records in their order, each baseline's with the figures of the verdict that had most items."""
    most: dict[tuple[str, str, str], Record] = {}
    for record in sorted(records, key=lambda one: (one.outcome is not None, one.regime)):
        known = most.setdefault(_place(record), record)
        if record.n > known.n:
            most[_place(record)] = record
    return [record if record.outcome is not None else _taken_on(record, most[_place(record)]) for record in records]


def _place(record: Record) -> tuple[str, str, str]:
    return record.model, record.benchmark, record.metric


def _taken_on(own: Record, other: Record) -> Record:
    if other.n <= own.n:
        return own
    noise = other.noise
    if noise is not None and other.is_relative and not own.is_relative:
        noise = {**noise, "floor": noise["floor"] * other.baseline}  # a share of the score, back to the score's unit
    against = own.against
    drift = None if other.trend is None else other.trend.baseline
    if against is not None and drift is not None:
        against = replace(Trend.from_json(against), baseline=drift).to_json()
    limit = None if other.hit_limit is None else {"baseline": other.hit_limit["baseline"], "candidate": None}
    taken = replace(own, n=other.n, baseline=other.baseline, hit_limit=limit)
    return replace(taken, noise=noise or own.noise, against=against)
