"""Measure baseline and candidate, and judge. No pytest here: a gate in a script is the same gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_qllm import kernel
from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.measure import Laboratory
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.sequential import looks
from pytest_qllm.verdict.verdict import Outcome, Sample, Verdict, check, judge, lacks_signal, mean_score

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark


_NOISE = "the baseline's own score moves by that when only its batches change; use more items or a wider tolerance"


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
        record = self._record(self.baseline, question, measurement.sample(question.metric), measurement.provenance)
        return replace(record, noise=asdict(self.laboratory.noise(prepared, items, question.metric)))

    def ask(self, question: Question, regime: Regime) -> Record:
        """The verdict on a regime. Items are measured until the loss is plain, or to the last one.

        Raises:
            QllmError: if something is broken; a verdict is never made up.
        """
        laboratory = self.laboratory
        prepared, items = self._prepare(question)
        if not laboratory.is_stored(self.baseline, prepared, items):
            # Another worker may be at it: meanwhile make what this test needs anyhow.
            laboratory.artifact(regime)
        baseline = laboratory.measure(self.baseline, prepared, items).sample(question.metric)
        scale = question.benchmark.scale
        provenance = laboratory.provenance(regime, prepared)
        record = self._record(regime, question, baseline, provenance)
        reason = lacks_signal(baseline, scale, question.tolerance)
        if reason is not None:
            return replace(record, outcome=str(Outcome.NO_SIGNAL), reason=reason)
        noise = laboratory.noise(prepared, items, question.metric)
        record = replace(record, noise=asdict(noise))
        if question.tolerance <= noise.floor:
            reason = f"the tolerance is smaller than the noise floor of {record.amount(noise.floor)}"
            return replace(record, outcome=str(Outcome.INCONCLUSIVE), reason=f"{reason}: {_NOISE}")
        verdict: Verdict | None = None
        for look in looks(len(items), question.benchmark.chunk):
            measurement = laboratory.measure(regime, prepared, items[: look.items])
            first = _first(baseline, look.items)
            if not look.may_pass and lacks_signal(first, scale, question.tolerance) is not None:
                continue
            verdict = judge(
                first,
                measurement.sample(question.metric),
                scale,
                question.tolerance,
                may_pass=look.may_pass,
                fail_alpha=look.fail_alpha,
            )
            if verdict.outcome is Outcome.FAIL:
                break
        assert verdict is not None
        evidence = _with(record, verdict, len(items))
        fidelity = laboratory.fidelity(regime, prepared, items[: evidence.n])
        return replace(evidence, fidelity=None if fidelity is None else asdict(fidelity))

    def kernel(self, regime: Regime) -> KernelRecord:
        """Whether the library's kernels compute what the regime's weights say.

        Raises:
            UnavailableError: with the reason, if there is nothing to compare.
            QllmError: if something is broken.
        """
        figures, provenance = kernel.probe(self.laboratory, regime)
        return KernelRecord(self.model, regime.name, regime.method, regime.bits, figures, provenance)

    def _prepare(self, question: Question) -> tuple[LmEvalBenchmark, Sequence[Item]]:
        prepared = self.laboratory.benchmark(question.benchmark)
        return prepared, self.laboratory.items(prepared, question.items)

    def _record(self, regime: Regime, question: Question, baseline: Sample, provenance: Mapping[str, Any]) -> Record:
        benchmark = question.benchmark
        check(baseline, benchmark.scale)
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


def _first(sample: Sample, count: int) -> Sample:
    clusters = None if sample.clusters is None else sample.clusters[:count]
    return Sample(sample.ids[:count], sample.scores[:count], sample.weights[:count], sample.chance[:count], clusters)


def _with(record: Record, verdict: Verdict, planned: int) -> Record:
    evidence = verdict.evidence
    assert evidence is not None
    return replace(
        record,
        outcome=str(verdict.outcome),
        reason=verdict.reason,
        n=evidence.n,
        planned=planned,
        baseline=evidence.baseline,
        candidate=evidence.candidate,
        effect=evidence.effect,
        ci=(evidence.low, evidence.high),
        alphas=evidence.alphas,
        interval=evidence.interval,
        broken=evidence.broken,
        mended=evidence.mended,
    )
