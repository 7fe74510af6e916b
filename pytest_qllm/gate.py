"""Measure baseline and candidate, and judge. No pytest here: a gate in a script is the same gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.measure import Laboratory
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.sequential import DEFAULT, Design, Look, looks
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Kind, Outcome, Sample, Verdict, check, judge, lacks_signal, mean_score

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark


@dataclass(frozen=True)
class Question:
    """What a test asks: is this benchmark's metric within the tolerance, on so many items?"""

    benchmark: Benchmark
    metric: str
    items: int
    tolerance: float


class Gate:
    """Answers questions about the regimes of one model."""

    def __init__(self, laboratory: Laboratory, baseline: Regime, model: str) -> None:
        self.laboratory = laboratory
        self.baseline = baseline
        self.model = model

    def measure_baseline(self, question: Question) -> Record:
        """The baseline's score; no verdict."""
        prepared, items = self._prepare(question)
        measurement = self.laboratory.measure(self.baseline, prepared, items)
        return self._record(self.baseline, question, measurement.sample(question.metric), measurement.provenance)

    def ask(self, question: Question, regime: Regime, design: Design = DEFAULT) -> Record:
        """The verdict on a regime. Items are measured in growing blocks until it is decided, or to the last one.

        Raises:
            QllmError: if something is broken; a verdict is never made up.
        """
        laboratory = self.laboratory
        prepared, items = self._prepare(question)
        if not laboratory.is_stored(self.baseline, prepared, items):
            # Another worker may be at it: meanwhile make what this test needs anyhow.
            laboratory.artifact(regime)
        kind = Kind(question.benchmark.kind)
        record: Record | None = None

        def judge_at(look: Look) -> Verdict | None:
            """The baseline goes ahead; where it lacks signal so far, the candidate is not measured."""
            nonlocal record
            first = items[: look.items]
            baseline = laboratory.measure(self.baseline, prepared, first).sample(question.metric)
            record = self._record(regime, question, baseline, laboratory.provenance(regime, prepared))
            reason = lacks_signal(baseline, kind, question.tolerance, alpha=design.alpha)
            if reason is not None:
                return Verdict(Outcome.NO_SIGNAL, question.tolerance, None, reason)
            candidate = laboratory.measure(regime, prepared, first).sample(question.metric)
            return judge(baseline, candidate, kind, question.tolerance, alpha=look.alpha, signal_alpha=design.alpha)

        planned = looks(len(items), question.benchmark.chunk, design, kind.first_look)
        verdict = conduct(planned, judge_at, design)
        assert record is not None
        return _with(record, verdict)

    def _prepare(self, question: Question) -> tuple[LmEvalBenchmark, Sequence[Item]]:
        prepared = self.laboratory.benchmark(question.benchmark)
        return prepared, self.laboratory.items(prepared, question.items)

    def _record(self, regime: Regime, question: Question, baseline: Sample, provenance: Mapping[str, Any]) -> Record:
        benchmark = question.benchmark
        check(baseline, Kind(benchmark.kind))
        return Record(
            model=self.model,
            regime=regime.name,
            method=regime.method,
            bits=regime.bits,
            benchmark=benchmark.name,
            dimension=benchmark.dimension,
            metric=question.metric,
            scale=str(benchmark.scale),
            n=len(baseline.ids),
            baseline=mean_score(baseline, benchmark.scale),
            tolerance=None if regime.is_baseline else question.tolerance,
            provenance=provenance,
        )


def _with(record: Record, verdict: Verdict) -> Record:
    evidence = verdict.evidence
    if evidence is None:
        return replace(record, outcome=str(verdict.outcome), reason=verdict.reason)
    return replace(
        record,
        outcome=str(verdict.outcome),
        reason=verdict.reason,
        n=evidence.n,
        planned=evidence.planned,
        baseline=evidence.baseline,
        candidate=evidence.candidate,
        effect=evidence.effect,
        ci=(evidence.low, evidence.high),
        alphas=evidence.alphas,
        interval=evidence.interval,
        broken=evidence.broken,
        mended=evidence.mended,
    )
