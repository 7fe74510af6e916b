"""Measure baseline and candidate, and judge. No pytest here: a gate in a script is the same gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_qllm import kernel
from pytest_qllm import plan as plans
from pytest_qllm.against import Previous
from pytest_qllm.answers import texts_of
from pytest_qllm.benchmarks.benchmark import Behind, Benchmark
from pytest_qllm.benchmarks.corpus import corpus_metric
from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.dimension import Pooled, pool
from pytest_qllm.measure import Laboratory
from pytest_qllm.measurement import Measurement
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.items import Scores
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.bias import bias_hindrance
from pytest_qllm.verdict.corpus import CorpusMetric
from pytest_qllm.verdict.expected import Expected, accept
from pytest_qllm.verdict.sequential import DEFAULT, Design, Look, looks
from pytest_qllm.verdict.tolerance import Tolerance
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import (
    Kind,
    Outcome,
    Sample,
    Scale,
    Verdict,
    at_ceiling,
    check,
    judge,
    lacks_signal,
    mean_score,
)

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark


_RESAMPLING = 0
"""Seed of a corpus metric's resamples: the same scores always have the same limits."""
_NOISE = "the baseline's own score moves by that when only its batches change; use more items or a wider tolerance"


@dataclass(frozen=True)
class Question:
    """What a test asks: is this benchmark's metric within the tolerance, on so many items at most?

    Attributes:
        relative: whether the tolerance is a share of the baseline's score ("keep 99 %": 0.01).
        behind: of a bias score, what has to hold first, and the tolerance of that accuracy.
    """

    benchmark: Benchmark
    metric: str
    items: int
    tolerance: float
    design: Design = DEFAULT
    expected: Expected | None = None
    asked: bool = False
    """Whether the number of items is the user's own words, and not the benchmark's: then all of them are planned."""
    relative: bool = False
    behind: tuple[Behind, Tolerance] | None = None

    @property
    def kind(self) -> Kind:
        return self.benchmark.kind_of(self.metric)

    @property
    def scale(self) -> Scale:
        return Scale.RELATIVE if self.relative else self.kind.scale

    @property
    def of_corpus(self) -> CorpusMetric | None:
        """The function of all items at once, where the metric is one."""
        return corpus_metric(self.metric.partition(",")[0]) if self.kind.of_corpus else None

    def lacks_signal(self, baseline: Sample) -> str | None:
        """Why the baseline cannot carry a verdict, or None where it can."""
        alpha, metric = self.design.alpha, self.of_corpus
        return lacks_signal(baseline, self.kind, self.tolerance, relative=self.relative, alpha=alpha, metric=metric)

    def planned(self, available: int, bits: int) -> int:
        """Items that the test of a regime of that width uses at most."""
        if self.asked:
            return available
        chunk, relative = self.benchmark.chunk, self.relative
        return plans.planned_items(self.kind, available, self.tolerance, bits, self.design, chunk, relative=relative)

    def too_few(self, items: Sequence[Item]) -> str:
        """Why so few items, or clusters of them, pass no regime, whatever they score; empty where they are enough."""
        units = len({item.cluster or item.id for item in items})
        return plans.too_few(self.kind, units, self.tolerance, self.design, relative=self.relative)

    def undecidable(self, items: Sequence[Item], bits: int) -> str:
        """Why those items will hardly decide the test of a regime of that width; empty where they may."""
        asked = self.kind, len(items), self.tolerance, bits, self.design
        return plans.undecidable(*asked, relative=self.relative) or self.too_few(items)

    def judge(self, baseline: Sample, candidate: Sample, alpha: float) -> Verdict:
        """The verdict at a look with that one-sided error."""
        verdict = judge(
            baseline,
            candidate,
            self.kind,
            self.tolerance,
            alpha=alpha,
            signal_alpha=self.design.alpha,
            relative=self.relative,
            metric=self.of_corpus,
            generator=np.random.default_rng(_RESAMPLING),
        )
        # Of a score behind an accuracy, the best is no sign that the items are easy.
        return verdict if self.behind is not None else at_ceiling(verdict, self.kind)


class Gate:
    """Answers questions about the regimes of one model.

    ``tell`` takes a line that its user should read before a measurement begins; ``previous`` is a release of the same
    regimes, with which they are compared too.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        baseline: Regime,
        model: str,
        tell: Callable[[str], None] = lambda _: None,
        previous: Previous | None = None,
    ) -> None:
        self.laboratory = laboratory
        self.baseline = baseline
        self.model = model
        self.tell = tell
        self.previous = previous

    def measure_baseline(self, question: Question, *, goes_ahead: bool = False) -> Record:
        """The baseline's score; no verdict.

        Where regimes are asked the same after it, it only goes ahead of them, with the first chunk: they take it on as
        far as each needs. Not so with a fixed number of items, and where it does not stay in memory beside a regime.
        """
        prepared, items = self._prepare(question)
        if goes_ahead and not question.design.is_fixed and self.laboratory.keeps_baseline:
            items = items[: question.benchmark.chunk]
        measurement = self._measure(self.baseline, question, prepared, items)
        sample = measurement.sample(question.metric)
        record = self._record(self.baseline, question, sample, measurement.provenance)
        record = self._itemized(record, question, sample, None)
        record = replace(record, hit_limit=_hit_limit(items, measurement))
        record = self._told(record, question, prepared, items, measurement)
        return replace(record, noise=asdict(self.laboratory.noise(prepared, items, question.metric)))

    def ask(self, question: Question, regime: Regime) -> Record:
        """The verdict on a regime. Items are measured in growing blocks until it is decided, or to the last one.

        Raises:
            QllmError: if something is broken; a verdict is never made up.
        """
        laboratory = self.laboratory
        prepared, items = self._prepare(question)
        if not laboratory.is_stored(self.baseline, prepared, items[: question.benchmark.chunk]):
            # Another worker may be at it: meanwhile make what this test needs anyhow.
            laboratory.artifact(regime)
        design = question.design
        kind = question.kind
        bits = regime.judged_bits
        planned = question.planned(len(items), bits)
        undecidable = question.undecidable(items, bits)
        if undecidable:
            self.tell(f"{question.benchmark.name} on {regime.name} will hardly be decided: {undecidable}")
        record: Record | None = None

        @cache
        def judge_at(look: Look) -> Verdict:
            """The baseline goes ahead; where it cannot carry a verdict so far, the candidate is not measured."""
            nonlocal record
            first = items[: look.items]
            measured = self._measure(self.baseline, question, prepared, first)
            baseline = measured.sample(question.metric)
            record = self._record(regime, question, baseline, laboratory.provenance(regime, prepared))
            noise = laboratory.noise(prepared, first, question.metric)
            if question.relative and record.baseline > 0:
                noise = replace(noise, floor=noise.floor / record.baseline)
            record = replace(record, noise=asdict(noise), undecidable=undecidable)
            reason = prepared.hindrance if isinstance(prepared, Pooled) else None
            reason = reason or question.lacks_signal(baseline) or _blindness(question, measured)
            if reason is not None:
                return Verdict(Outcome.NO_SIGNAL, question.tolerance, None, reason)
            # A floor of 0 (of a ratio: 1) is none: there a tolerance of nothing can still be failed.
            if noise.floor > question.kind.none and question.tolerance <= noise.floor:
                reason = f"the tolerance is smaller than the noise floor of {record.amount(noise.floor)}: {_NOISE}"
                return Verdict(Outcome.INCONCLUSIVE, question.tolerance, None, reason)
            other = self._measure(regime, question, prepared, first)
            reason = _hindrance(question, measured, other, look.alpha)
            if reason is not None:
                return Verdict(Outcome.INCONCLUSIVE, question.tolerance, None, reason)
            return question.judge(baseline, other.sample(question.metric), look.alpha)

        places = looks(planned, question.benchmark.chunk, design, kind.first_look)
        verdict = conduct(places, judge_at, design)
        assert record is not None
        answer: Record = replace(record, planned=planned, pooled=pool(prepared, items)).decided(verdict)
        if verdict.evidence is None:  # what was measured of the baseline is told all the same
            measured = laboratory.measure(self.baseline, prepared, items[: answer.n])
            scores = _scores(question, measured.sample(question.metric), None)
            answer = replace(answer, scores=scores, hit_limit=_hit_limit(items, measured))
            answer = self._told(answer, question, prepared, items, measured)
        if verdict.evidence is not None:
            fidelity = laboratory.fidelity(regime, prepared, items[: verdict.evidence.n])
            answer = replace(answer, fidelity=None if fidelity is None else asdict(fidelity))
            pair = [laboratory.measure(one, prepared, items[: answer.n]) for one in (self.baseline, regime)]
            answer = replace(answer, beside=_beside(question, *pair), hit_limit=_hit_limit(items, *pair))
            answer = self._itemized(answer, question, *(one.sample(question.metric) for one in pair))
            answer = self._told(answer, question, prepared, items, *pair)
        if question.expected is None:
            return answer
        most: float | None = None
        if kind.has_chance:
            first = laboratory.measure(self.baseline, prepared, items[: answer.n]).sample(question.metric)
            most = float(first.scores.mean() - first.chance.mean())
            if question.relative:
                most /= float(first.scores.mean())
        return replace(answer, expected=accept(question.expected, verdict, places, judge_at, design, most))

    def _told(
        self,
        record: Record,
        question: Question,
        prepared: LmEvalBenchmark,
        items: Sequence[Item],
        *sides: Measurement,
    ) -> Record:
        """With what was asked and answered; a dimension's texts are told by its benchmarks' own tests."""
        if isinstance(prepared, Pooled):
            return replace(record, pooled=pool(prepared, items, *sides))
        return replace(record, texts=texts_of(items, question.metric, *sides).packed())

    def _itemized(self, record: Record, question: Question, baseline: Sample, candidate: Sample | None) -> Record:
        """With the scores of the single items, and what changed since the previous release."""
        record = replace(record, scores=_scores(question, baseline, candidate))
        if self.previous is None:
            return record
        alpha = question.design.alpha
        trend = self.previous.compare(record, question.kind, baseline, candidate, alpha)
        return replace(record, against=trend.to_json())

    def kernel(self, regime: Regime) -> KernelRecord:
        """Whether the library's kernels compute what the regime's weights say.

        Raises:
            UnavailableError: with the reason, if there is nothing to compare.
            QllmError: if something is broken.
        """
        figures, provenance = kernel.probe(self.laboratory, regime)
        return KernelRecord(self.model, regime.name, regime.method, regime.bits, figures, provenance)

    def _measure(
        self, regime: Regime, question: Question, prepared: LmEvalBenchmark, items: Sequence[Item]
    ) -> Measurement:
        """Scores of the items; the store is told of a metric that is not the benchmark's own."""
        measured = self.laboratory.measure(regime, prepared, items)
        if question.metric != question.benchmark.metric:
            self.laboratory.name_subject(regime, prepared, question.metric)
        return measured

    def _prepare(self, question: Question) -> tuple[LmEvalBenchmark, Sequence[Item]]:
        prepared = self.laboratory.benchmark(question.benchmark)
        items = self.laboratory.items(prepared, question.items)
        return prepared, self.laboratory.usable(prepared, items, question.design.alpha)

    def _record(self, regime: Regime, question: Question, baseline: Sample, provenance: Mapping[str, Any]) -> Record:
        benchmark = question.benchmark
        size = self.laboratory.size(regime, make=False)
        check(baseline, question.kind)
        return Record(
            model=self.model,
            regime=regime.name,
            method=regime.method,
            bits=regime.judged_bits,
            size=None if size is None else size.to_json(),
            benchmark=benchmark.name,
            dimension=benchmark.dimension,
            metric=question.metric,
            scale=str(question.scale),
            n=len(baseline.ids),
            baseline=mean_score(baseline, question.kind, question.of_corpus),
            tolerance=None if regime.is_baseline else question.tolerance,
            provenance=provenance,
        )


def _blindness(question: Question, baseline: Measurement) -> str | None:
    """Why the baseline's accuracy cannot carry a bias score; None where it can, and for every other metric."""
    if question.behind is None:
        return None
    first, tolerance = question.behind
    sample, alpha = baseline.sample(first.accuracy), question.design.alpha
    reason = lacks_signal(sample, Kind.ACCURACY, tolerance.value, relative=tolerance.relative, alpha=alpha)
    return None if reason is None else f"a bias score counts only behind an accuracy: {reason}"


def _scores(question: Question, baseline: Sample, candidate: Sample | None) -> dict[str, Any]:
    """The scores of the single items."""
    scores = Scores(
        baseline.ids,
        baseline.scores.tolist(),
        () if candidate is None else candidate.scores.tolist(),
        baseline.weights.tolist() if question.kind is Kind.PERPLEXITY else (),
        baseline.clusters or (),
        baseline.chance.tolist() if question.kind.has_chance else (),
    )
    return scores.to_json()


def _hindrance(question: Question, baseline: Measurement, candidate: Measurement, alpha: float) -> str | None:
    """Why a bias score may not be judged at this look; None where it may, and for every other metric."""
    if question.behind is None:
        return None
    first, tolerance = question.behind
    accuracy = judge(
        baseline.sample(first.accuracy),
        candidate.sample(first.accuracy),
        Kind.ACCURACY,
        tolerance.value,
        alpha=alpha,
        signal_alpha=question.design.alpha,
        relative=tolerance.relative,
    )
    before, after = (int(one.sample(first.informative).scores.sum()) for one in (baseline, candidate))
    return bias_hindrance(accuracy, before, after)


def _beside(question: Question, baseline: Measurement, candidate: Measurement) -> dict[str, Any] | None:
    """The accuracy of the answers that a graded score was taken of."""
    if question.metric != PROB:
        return None
    metric = question.benchmark.metric
    before, after = baseline.sample(metric).scores, candidate.sample(metric).scores
    return {
        "metric": metric,
        "baseline": float(before.mean()),
        "candidate": float(after.mean()),
        "effect": float((after - before).mean()),
        "broken": int((after < before).sum()),
        "mended": int((after > before).sum()),
    }


def _hit_limit(
    items: Sequence[Item], baseline: Measurement, candidate: Measurement | None = None
) -> dict[str, Any] | None:
    """How many answers were ended by their limit of tokens; None where nothing is generated."""
    if not any(item.output_type == "generate_until" for item in items):
        return None
    return {"baseline": baseline.hit_limit, "candidate": None if candidate is None else candidate.hit_limit}
