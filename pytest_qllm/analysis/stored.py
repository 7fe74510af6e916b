"""A sheet from the store alone: every measurement with its paired difference from the baseline. Loads no model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pytest_qllm import index
from pytest_qllm.analysis.sheet import Cell, Column, Row, Sheet
from pytest_qllm.benchmarks.corpus import corpus_metric
from pytest_qllm.errors import QllmError
from pytest_qllm.index import Subject
from pytest_qllm.measurement import ItemScore, Measurement
from pytest_qllm.store import Store, digest
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.multiplicity import holm
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.significance import Difference, difference
from pytest_qllm.verdict.verdict import mean_score

SEED = 0
"""Of a corpus metric's resamples: the same store always has the same figures."""

_SHORT = 6


@dataclass(frozen=True)
class _Measured:
    """One metric of a key of the store, and where it belongs in the sheet."""

    key: str
    subject: Subject
    setting: str
    model: str
    regime: str
    column: str

    @classmethod
    def of(cls, key: str, subject: Subject) -> _Measured:
        told = subject.identity
        setting = {name: told.get(name) for name in ("dtype", "device", "engine", "scores")}
        model = digest([told.get("weights"), told.get("tokenizer")])
        regime = digest([told.get("regime"), told.get("kernels")])
        column = digest([told.get("benchmark"), told.get("judge"), subject.benchmark, subject.metric])
        return cls(key, subject, digest(setting)[:_SHORT], model, regime, column)

    @property
    def name(self) -> str:
        """Of its column: the benchmark's, and the metric's where that is not the benchmark's own."""
        subject = self.subject
        return subject.benchmark if subject.own_metric else f"{subject.benchmark} {subject.metric}"

    @property
    def is_baseline(self) -> bool:
        recipe = self.subject.identity.get("regime", {})
        return self.subject.method == "none" and not recipe.get("adapter") and not recipe.get("kv")


def read(
    root: Path,
    *,
    setting: str = "",
    models: Sequence[str] = (),
    regimes: Sequence[str] = (),
    benchmarks: Sequence[str] = (),
) -> Sheet:
    """Everything in a store that can be compared.

    Args:
        setting: which one is meant, where the store has several: dtype, device and versions decide the scores.
        models, regimes, benchmarks: names that are meant; all where there are none.

    Raises:
        QllmError: if the store has nothing of that, or several settings of which none was chosen.
    """
    if not (root / "measurements").is_dir():
        raise QllmError(f"{root} is no store of pytest-qllm, or an empty one: run the tests first, or give --store DIR")
    store = Store(root)
    every = [_Measured.of(key, subject) for key, subject in index.subjects(store)]
    notes = _unnamed(store)
    if not every:
        raise QllmError(f"{root}: {notes[0] if notes else 'nothing is measured yet; run the tests first'}")
    chosen = _of_setting(_named(every, models, regimes, benchmarks), setting, root)
    made = _Maker(store, chosen)
    sheet = made.sheet(str(root))
    return replace(sheet, setting=told(chosen[0]), notes=(*sheet.notes, *notes))


def _unnamed(store: Store) -> list[str]:
    count = index.unnamed(store)
    if not count:
        return []
    what = "1 measurement is" if count == 1 else f"{count} measurements are"
    return [f"{what} of an earlier version, which did not say of what: run those tests again, which computes nothing"]


def _named(every: list[_Measured], *given: Sequence[str]) -> list[_Measured]:
    """Those of the names that were given; the baseline stays with every regime."""
    models, regimes, benchmarks = given
    fields: tuple[tuple[str, Sequence[str], Callable[[_Measured], str]], ...] = (
        ("models", models, lambda one: one.subject.model),
        ("regimes", regimes, lambda one: one.subject.regime),
        ("benchmarks", benchmarks, lambda one: one.subject.benchmark),
    )
    for option, names, of in fields:
        known = sorted({of(one) for one in every})
        wrong = [name for name in names if name not in known]
        if wrong:
            raise QllmError(f"--{option}: the store has nothing of {', '.join(wrong)}; it has {', '.join(known)}")
        if names:
            every = [one for one in every if of(one) in names or (option == "regimes" and one.is_baseline)]
    return every


def _of_setting(every: list[_Measured], setting: str, root: Path) -> list[_Measured]:
    groups: dict[str, list[_Measured]] = defaultdict(list)
    for one in every:
        groups[one.setting].append(one)
    listed = "; ".join(f"{name}: {told(group[0])}, {len(group)} measurements" for name, group in sorted(groups.items()))
    if setting:
        if setting not in groups:
            raise QllmError(f"--setting {setting}: there is none in {root}; it has {listed}")
        return groups[setting]
    if len(groups) > 1:
        raise QllmError(
            f"{root} has measurements of {len(groups)} settings, which are not comparable: {listed}. Choose one with "
            "--setting NAME"
        )
    return every


def told(one: _Measured) -> str:
    """A setting in words."""
    identity = one.subject.identity
    engine: Mapping[str, Any] = identity.get("engine") or {}
    versions = ", ".join(f"{name} {value}" for name, value in engine.items() if name != "version")
    return f"{identity.get('dtype')} on {identity.get('device')}, engine {engine.get('version')}, {versions}"


class _Maker:
    """Places measurements in rows and columns, and compares."""

    def __init__(self, store: Store, chosen: list[_Measured]) -> None:
        self.store = store
        self.notes: list[str] = []
        self.model_names = self._distinct(chosen, "weights", lambda one: (one.subject.model, one.model))
        self.columns = self._distinct(chosen, "forms", lambda one: (one.name, one.column))
        self.regimes: dict[tuple[str, str], str] = {}
        for model in self.model_names:
            of_model = [one for one in chosen if one.model == model]
            found = self._distinct(of_model, "recipes", lambda one: (one.subject.regime, one.regime))
            self.regimes |= {(model, regime): name for regime, name in found.items()}
        self.measured = {(one.model, one.regime, one.column): one for one in chosen}

    def _distinct(
        self, chosen: Iterable[_Measured], what: str, of: Callable[[_Measured], tuple[str, str]]
    ) -> dict[str, str]:
        """A name for each hash; where several have one name, with the beginning of the hash, and a note."""
        hashes: dict[str, list[str]] = defaultdict(list)
        for one in chosen:
            name, key = of(one)
            if key not in hashes[name]:
                hashes[name].append(key)
        for name, keys in hashes.items():
            if len(keys) > 1:
                self.notes.append(f"{name} was measured with {len(keys)} {what}; each stands by itself")
        return {
            key: name if len(keys) == 1 else f"{name}@{key[:_SHORT]}"
            for name, keys in sorted(hashes.items())
            for key in keys
        }

    def sheet(self, source: str) -> Sheet:
        places = sorted(self.regimes, key=lambda place: self._rank(*place))
        rows = tuple(self._row(*place) for place in places)
        columns: list[Column] = []
        cells: dict[tuple[int, int], Cell] = {}
        samples: dict[tuple[int, int], Sample] = {}
        for key, name in sorted(self.columns.items(), key=lambda one: self._column_rank(*one)):
            found = self._column(key, name, places)
            if found:
                for at, (cell, sample) in found.items():
                    cells[at, len(columns)], samples[at, len(columns)] = cell, sample
                columns.append(self._describe(key, name))
        used = [at for at in range(len(rows)) if any(row == at for row, _ in cells)]
        renamed = {at: place for place, at in enumerate(used)}
        cells = {(renamed[row], column): cell for (row, column), cell in cells.items()}
        samples = {(renamed[row], column): sample for (row, column), sample in samples.items()}
        if not cells:
            raise QllmError(f"{source}: nothing can be compared; {'; '.join(self.notes)}")
        self._note_early(cells, columns)
        return Sheet(
            tuple(rows[at] for at in used), tuple(columns), _adjusted(cells), source, "", tuple(self.notes), samples
        )

    def _of_row(self, model: str, regime: str) -> Iterable[_Measured]:
        return (one for place, one in self.measured.items() if place[:2] == (model, regime))

    def _rank(self, model: str, regime: str) -> tuple[Any, ...]:
        one = next(iter(self._of_row(model, regime)))
        return self.model_names[model], not one.is_baseline, -one.subject.bits, self.regimes[model, regime]

    def _row(self, model: str, regime: str) -> Row:
        every = list(self._of_row(model, regime))
        subject, name = every[0].subject, self.regimes[model, regime]
        size = max((one.subject.bytes for one in every if one.subject.bytes is not None), default=None)
        is_baseline = every[0].is_baseline
        bits = min(one.subject.bits for one in every)
        return Row(self.model_names[model], name, subject.method, bits, size, is_baseline)

    def _describe(self, column: str, name: str) -> Column:
        subject = next(one.subject for place, one in self.measured.items() if place[2] == column)
        return Column(name, subject.dimension, subject.metric, Kind(subject.kind))

    def _column_rank(self, column: str, name: str) -> tuple[Any, ...]:
        described = self._describe(column, name)
        return described.is_ratio, described.dimension, name

    def _column(
        self, column: str, name: str, places: Sequence[tuple[str, str]]
    ) -> dict[int, tuple[Cell, Sample]] | None:
        """Cells of a benchmark by row; None where its rows were asked sets of items of which none holds the other."""
        items = {
            at: found
            for at, place in enumerate(places)
            if (one := self.measured.get((*place, column))) is not None and (found := index.scores(self.store, one.key))
        }
        described = self._describe(column, name)
        if any(described.metric not in item.metrics for found in items.values() for item in found.values()):
            self.notes.append(f"{name} is left out: its {described.metric} is not stored, but made of the answers anew")
            return None
        baselines = {place[0]: at for at, place in enumerate(places) if self.measured_baseline(place) and at in items}
        kept = {at: found for at, found in items.items() if places[at][0] in baselines}
        for at in items.keys() - kept.keys():
            self.notes.append(
                f"{name} of {self.model_names[places[at][0]]} {self.regimes[places[at]]} is left out: the baseline was "
                "not measured on it"
            )
        if not self._are_nested(name, kept, places):
            return None
        cells = {}
        for at, found in kept.items():
            base = baselines[places[at][0]]
            cells[at] = self._cell(described, kept[base], None if at == base else found)
        return cells

    def measured_baseline(self, place: tuple[str, str]) -> bool:
        return next(iter(self._of_row(*place))).is_baseline

    def _are_nested(
        self, name: str, items: Mapping[int, Mapping[str, ItemScore]], places: Sequence[tuple[str, str]]
    ) -> bool:
        """Items have a fixed order, so that of two rows one has all items of the other, unless data or seed differ."""
        order = sorted(items, key=lambda at: len(items[at]))
        for fewer, more in pairwise(order):
            if not items[fewer].keys() <= items[more].keys():
                one, other = (f"{self.model_names[places[at][0]]} {self.regimes[places[at]]}" for at in (fewer, more))
                common = len(items[fewer].keys() & items[more].keys())
                self.notes.append(
                    f"{name} is left out: {one} and {other} were measured on other sets of items ({len(items[fewer])} "
                    f"and {len(items[more])}, {common} in common); measure them with one --qllm-data and --qllm-seed"
                )
                return False
        return True

    def _cell(
        self, column: Column, baseline: Mapping[str, ItemScore], candidate: Mapping[str, ItemScore] | None
    ) -> tuple[Cell, Sample]:
        assert column.kind is not None
        metric = corpus_metric(column.metric.partition(",")[0]) if column.kind.of_corpus else None
        every = _sample(column, baseline.values())
        own = mean_score(every, column.kind, metric)
        if candidate is None:
            return Cell(own, len(every.ids)), every
        common = [one for one in baseline if one in candidate]
        before, after = (_sample(column, [side[one] for one in common]) for side in (baseline, candidate))
        change = difference(column.kind, before, after, metric, np.random.default_rng(SEED))
        moved = own * change.effect if column.is_ratio else own + change.effect
        if column.kind is Kind.BIAS:  # whose change is that of its distance from 0
            moved = mean_score(after, column.kind, metric)
        return Cell(moved, change.n, change), after

    def _note_early(self, cells: Mapping[tuple[int, int], Cell], columns: Sequence[Column]) -> None:
        most: dict[int, int] = defaultdict(int)
        for (_, column), cell in cells.items():
            most[column] = max(most[column], cell.n or 0)
        early = [place for place, cell in cells.items() if cell.change is not None and (cell.n or 0) < most[place[1]]]
        if early:
            names = ", ".join(sorted({columns[column].name for _, column in early}))
            self.notes.append(
                f"{len(early)} differences are of fewer items than their baseline ({names}), as of a test that was "
                "decided early: such a test overstates why it stopped, and its p-value here knows nothing of its "
                "looks; for figures to publish run with --qllm-fixed-n"
            )


def _sample(column: Column, items: Iterable[ItemScore]) -> Sample:
    return Measurement("", column.name, tuple(items)).sample(column.metric)


def _adjusted(cells: Mapping[tuple[int, int], Cell]) -> dict[tuple[int, int], Cell]:
    """With Holm's p-values over all changes of the sheet."""
    changes: dict[tuple[int, int], Difference] = {
        place: cell.change for place, cell in cells.items() if cell.change is not None
    }
    tested = {place: change.p for place, change in changes.items() if change.p is not None}
    values = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {place: replace(cell, p_holm=values.get(place)) for place, cell in cells.items()}
