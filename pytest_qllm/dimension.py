"""A dimension as one test: the items of its benchmarks in one fixed order, judged together at a tighter tolerance.

Each benchmark's items come in its own fixed order, and the benchmarks are interleaved in proportion to their numbers of
items, so that every look sees the same mixture. The items are those of the single tests, so that what these measured is
not measured again; which of them stopped early has no bearing on where this test looks. See
docs/explanation/statistics.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.measure import Laboratory
from pytest_qllm.measurement import ItemScore, Measurement
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.pool import Part, Pool
from pytest_qllm.verdict.fidelity import Fidelity
from pytest_qllm.verdict.kinds import Kind, Scale
from pytest_qllm.verdict.noise import NoiseFloor
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.verdict import lacks_signal, mean_score
from pytest_qllm.workshop import BASELINE

METRICS = {Kind.ACCURACY: "acc", Kind.PERPLEXITY: "perplexity"}
"""What can be pooled, and the name of the pooled metric: a right answer is worth the same in every benchmark, and so is
a nat per token."""
LEAST = 2
"""Benchmarks with a signal that a dimension needs: one alone has its own test."""
_PLURALS = {Kind.ACCURACY: "accuracies", Kind.PERPLEXITY: "perplexities"}


@dataclass(frozen=True)
class Dimension(Benchmark):
    """The benchmarks of a dimension as one, with the number of items that each gives."""

    members: tuple[Benchmark, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, parts: Sequence[Benchmark], counts: Sequence[int]) -> Dimension:
        total = sum(counts)
        metric = METRICS[parts[0].kind_of(parts[0].metric)]
        return cls(name, name, "", metric, total, total, members=tuple(parts), counts=tuple(counts))


def pooled_kind(name: str, catalog: Iterable[Benchmark]) -> Kind:
    """What the benchmarks of a dimension are pooled by: the kind that most of them have, of those in ``METRICS``."""
    kinds = Counter(one.kind_of(one.metric) for one in catalog if one.dimension == name)
    return max(METRICS, key=lambda kind: kinds[kind])


def members(name: str, catalog: Sequence[Benchmark], named: Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks that a dimension is judged on: those of its ``pooled_kind``, or which of them were named.

    Raises:
        QllmError: if there is no such dimension, a name is not in it, or fewer than two are left.
    """
    dimensions = sorted({benchmark.dimension for benchmark in catalog})
    if name not in dimensions:
        raise QllmError(f"unknown dimension {name!r}; known dimensions: {', '.join(dimensions)}")
    if any(benchmark.name == name for benchmark in catalog):
        raise QllmError(f"the dimension {name!r} has the name of a benchmark; rename one of them")
    kind = pooled_kind(name, catalog)
    found = {one.name: one for one in catalog if one.dimension == name and one.kind_of(one.metric) is kind}
    wrong = [one for one in named or () if one not in found]
    if wrong:
        raise QllmError(
            f"{', '.join(wrong)}: not among the {_PLURALS[kind]} of the dimension {name!r}, "
            f"which has {', '.join(found) or 'none'}"
        )
    chosen = [one for one in found.values() if named is None or one.name in named]
    if len(chosen) < LEAST:
        raise QllmError(
            f"the dimension {name!r} has {len(chosen)} {_PLURALS[kind]} "
            f"({', '.join(one.name for one in chosen) or 'none'}); "
            f"pooling needs {LEAST}"
        )
    return chosen


class Pooled(LmEvalBenchmark):
    """A dimension's benchmarks with their data.

    Attributes:
        parts: those that are judged, with their items; fewer once it is known which have a signal.
        left_out: the others, and why.
    """

    def __init__(self, dimension: Dimension, parts: Sequence[LmEvalBenchmark]) -> None:
        super().__init__(dimension, parts[0].source, parts[0].seed)
        self.counts = dict(zip((part.benchmark.name for part in parts), dimension.counts, strict=True))
        self.parts: list[tuple[LmEvalBenchmark, list[Item]]] = [(part, []) for part in parts]
        self.left_out: dict[str, str] = {}
        self._places: dict[str, tuple[int, int]] = {}

    def identity(self) -> dict[str, Any]:
        return {part.benchmark.name: part.identity() for part, _ in self.parts}

    @property
    def hindrance(self) -> str | None:
        """Why the dimension cannot be judged at all, or None where it can."""
        names = [part.benchmark.name for part, _ in self.parts if part.benchmark.name not in self.left_out]
        if len(names) >= LEAST:
            return None
        kept = ", ".join(names) or "none"
        without = "; ".join(f"{name}: {why}" for name, why in self.left_out.items())
        return f"pooling needs {LEAST} benchmarks with a signal, and there is {kept} ({without})"

    def keep(self, parts: Sequence[tuple[LmEvalBenchmark, list[Item]]]) -> list[Item]:
        """Be of these parts; their items in the order in which they are judged, with ids of their own.

        The k-th of a part's n items stands at (k + 1/2) / n, so that the first items of the whole are the same mixture
        of parts, but for rounding, however many they are.
        """
        self.parts = list(parts)
        order = sorted(
            ((at + 0.5) / len(items), place, at) for place, (_, items) in enumerate(parts) for at in range(len(items))
        )
        ordered = []
        for _, place, at in order:
            part, items = parts[place]
            item = replace(items[at], id=f"{part.benchmark.name}:{items[at].id}")
            self._places[item.id] = place, at
            ordered.append(item)
        return ordered

    def first(self, items: Sequence[Item]) -> list[list[Item]]:
        """Of each part, the own items among the given first ones of the whole."""
        counts = [0] * len(self.parts)
        for item in items:
            place, at = self._places[item.id]
            counts[place] = max(counts[place], at + 1)
        return [own[:count] for (_, own), count in zip(self.parts, counts, strict=True)]

    def place(self, item: Item) -> tuple[int, int]:
        """Which part an item is of, and which of the part's items it is."""
        return self._places[item.id]


class DimensionLaboratory(Laboratory):
    """A laboratory that measures a dimension as well: by its parts, whose scores the store keeps."""

    def benchmark(self, benchmark: Benchmark) -> LmEvalBenchmark:
        if isinstance(benchmark, Dimension):
            return Pooled(benchmark, [super(DimensionLaboratory, self).benchmark(part) for part in benchmark.members])
        return super().benchmark(benchmark)

    def is_here(self, benchmark: Benchmark) -> bool:
        parts = benchmark.members if isinstance(benchmark, Dimension) else (benchmark,)
        return all(super(DimensionLaboratory, self).is_here(part) for part in parts)

    def items(self, benchmark: LmEvalBenchmark, count: int) -> list[Item]:
        """The items of all parts, interleaved; parts whose data are not to be had are left out.

        Raises:
            UnavailableError: if no part has data here.
        """
        if not isinstance(benchmark, Pooled):
            return super().items(benchmark, count)
        found: list[tuple[LmEvalBenchmark, list[Item]]] = []
        for part, _ in benchmark.parts:
            try:
                found.append((part, super().items(part, benchmark.counts[part.benchmark.name])))
            except UnavailableError as error:
                benchmark.left_out[part.benchmark.name] = str(error)
        if not found:
            raise UnavailableError("; ".join(benchmark.left_out.values()))
        return benchmark.keep(found)

    def usable(self, benchmark: LmEvalBenchmark, items: Sequence[Item], alpha: float) -> Sequence[Item]:
        """The items of the parts on which the baseline is told from chance: no loss could show on the others.

        A perplexity is always told from it.

        It depends on the baseline alone, and is settled before any candidate is looked at.
        """
        if not isinstance(benchmark, Pooled) or benchmark.benchmark.metric != METRICS[Kind.ACCURACY]:
            return super().usable(benchmark, items, alpha)
        kept = []
        for part, own in benchmark.parts:
            sample = super().measure(BASELINE, part, own).sample(part.benchmark.metric)
            if lacks_signal(sample, part.benchmark.kind_of(part.benchmark.metric), 0.0, alpha=alpha) is None:
                kept.append((part, own))
            else:
                score, chance = 100 * sample.scores.mean(), 100 * sample.chance.mean()
                benchmark.left_out[part.benchmark.name] = (
                    f"the baseline answers {score:.1f} % of {len(own)} items, chance is {chance:.1f} %"
                )
        if not kept:  # NO_SIGNAL, with the baseline's score on what there is
            return items
        return benchmark.keep(kept)

    def measure(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> Measurement:
        if not isinstance(benchmark, Pooled):
            return super().measure(regime, benchmark, items)
        scores = [
            super(DimensionLaboratory, self).measure(regime, part, _whole_chunks(part, every, len(used))).items
            for (part, every), used in zip(benchmark.parts, benchmark.first(items), strict=True)
        ]
        found = []
        for item in items:
            place, at = benchmark.place(item)
            score, part = scores[place][at], benchmark.parts[place][0].benchmark
            found.append(_as_part(score, item.id, part, benchmark.benchmark.metric))
        name = benchmark.benchmark.name
        return Measurement(regime.name, name, tuple(found), self.provenance(regime, benchmark))

    def lacking(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> list[Item]:
        if not isinstance(benchmark, Pooled):
            return super().lacking(regime, benchmark, items)
        return [
            item
            for (part, every), used in zip(benchmark.parts, benchmark.first(items), strict=True)
            for item in super(DimensionLaboratory, self).lacking(regime, part, _whole_chunks(part, every, len(used)))
        ]

    def provenance(self, regime: Regime, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        if not isinstance(benchmark, Pooled):
            return super().provenance(regime, benchmark)
        parts = [super(DimensionLaboratory, self).provenance(regime, part) for part, _ in benchmark.parts]
        names = [part.benchmark.name for part, _ in benchmark.parts]
        return {
            **(parts[0] if parts else self._identity(regime, benchmark)),
            "benchmark": benchmark.identity(),
            "data": {name: part["data"] for name, part in zip(names, parts, strict=True)},
        }

    def fidelity(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> Fidelity | None:
        return None if isinstance(benchmark, Pooled) else super().fidelity(regime, benchmark, items)

    def noise(self, benchmark: LmEvalBenchmark, items: Sequence[Item], metric: str) -> NoiseFloor:
        """Of a dimension: its parts' noise, each by its share of the items; of perplexities the largest."""
        if not isinstance(benchmark, Pooled):
            return super().noise(benchmark, items, metric)
        found = []
        for (part, every), used in zip(benchmark.parts, benchmark.first(items), strict=True):
            if used:
                measured = _whole_chunks(part, every, len(used))
                found.append((len(used), super().noise(part, measured, part.benchmark.metric)))
        total = sum(count for count, _ in found)
        items_again, flips = sum(one.items for _, one in found), sum(one.flips for _, one in found)
        largest = max(one.largest for _, one in found)
        if metric == METRICS[Kind.PERPLEXITY]:
            return NoiseFloor(items_again, largest, flips, None, max(one.floor for _, one in found))
        return NoiseFloor(
            items_again,
            largest,
            flips,
            sum(count * (one.expected_flips or 0.0) for count, one in found) / total,
            sum(count * one.floor for count, one in found) / total,
        )


def pool(benchmark: LmEvalBenchmark, items: Sequence[Item], *sides: Measurement) -> dict[str, Any] | None:
    """What a dimension was judged on: the baseline's side, and the candidate's where there is one; else None."""
    if not isinstance(benchmark, Pooled):
        return None
    used = items[: len(sides[0].items)] if sides else []
    samples = [side.sample(benchmark.benchmark.metric) for side in sides]
    kind = benchmark.benchmark.kind_of(benchmark.benchmark.metric)
    parts = []
    for place, (part, _) in enumerate(benchmark.parts):
        at = [index for index, item in enumerate(used) if benchmark.place(item)[0] == place]
        if at:
            own = [sample.at(at) for sample in samples]
            parts.append(_part(part.benchmark, kind, *own))
    return Pool(parts, dict(benchmark.left_out)).to_json()


def _part(benchmark: Benchmark, kind: Kind, baseline: Sample, candidate: Sample | None = None) -> Part:
    part = Part(benchmark.name, benchmark.metric, len(baseline.ids), mean_score(baseline, kind))
    if candidate is None:
        return part
    after = mean_score(candidate, kind)
    if kind.scale is Scale.RATIO:
        return replace(part, candidate=after, effect=after / part.baseline)
    broken = int((baseline.scores > candidate.scores).sum())
    mended = int((baseline.scores < candidate.scores).sum())
    return replace(part, candidate=after, effect=after - part.baseline, broken=broken, mended=mended)


def _as_part(score: ItemScore, name: str, benchmark: Benchmark, metric: str) -> ItemScore:
    cluster = None if score.cluster is None else f"{benchmark.name}:{score.cluster}"
    return replace(score, id=name, metrics={metric: score.metrics[benchmark.metric]}, cluster=cluster, parts={})


def _whole_chunks(part: LmEvalBenchmark, items: Sequence[Item], count: int) -> Sequence[Item]:
    """So many items and those that are measured together with the last of them."""
    size = part.benchmark.chunk
    return items[: -(-count // size) * size]
