"""Plan a gate from what is here: items, store and tokenizer. Loads no model and fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.gate import Question
from pytest_qllm.measure import Laboratory
from pytest_qllm.models.source import AbsentError, Checkpoint, parameters
from pytest_qllm.plan import Plan, is_known, power_of
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.workload import Workload
from pytest_qllm.workshop import BASELINE

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark

NO_DATA = "items and tokens are not known before the data are here"
NO_MODEL = "the checkpoint is not here yet"


class Planner:
    """Plans gates of one model.

    Args:
        laboratory: whose checkpoint is resolved without fetching (it raises AbsentError).
        model: as the user calls it.
        max_items: of the session; 0 where there is no limit.
    """

    def __init__(self, laboratory: Laboratory, model: str, max_items: int) -> None:
        self.laboratory = laboratory
        self.model = model
        self.max_items = max_items

    def plan(self, question: Question, regime: Regime, followers: Sequence[tuple[Question, Regime]] = ()) -> Plan:
        """What the gate can decide and what it costs.

        Args:
            question, regime: of the gate.
            followers: of a baseline, what is asked of regimes after it: they take it on as far as they need.

        Raises:
            QllmError: if the model or the data are broken.
        """
        benchmark, laboratory = question.benchmark, self.laboratory
        checkpoint = self.checkpoint  # a model that is broken is told first, whatever else is known
        prepared = laboratory.benchmark(benchmark)
        items = laboratory.items(prepared, question.items) if laboratory.is_here(benchmark) else None
        available = question.items if items is None else len(items)
        kind = question.kind
        planned, power = available, None
        if regime.is_baseline:
            if followers and checkpoint is not None and laboratory.keeps_baseline:
                planned = max(one.planned(min(available, one.items), own.judged_bits) for one, own in followers)
        else:
            planned = question.planned(available, regime.judged_bits)
            if is_known(kind, relative=question.relative):
                power = power_of(available, question.tolerance, regime.judged_bits, question.design)
        plan = Plan(
            model=self.model,
            regime=regime.name,
            bits=regime.judged_bits,
            benchmark=benchmark.name,
            metric=question.metric,
            scale=str(question.scale),
            tolerance=None if regime.is_baseline else question.tolerance,
            asked=question.items,
            available=None if items is None else available,
            planned=planned,
            advice=self._advice(question, available),
            power=power,
        )
        if items is None:
            return replace(plan, note=NO_DATA)
        used = items[:planned]
        if checkpoint is None:
            return replace(plan, tokens=self.workload.tokens(used), note=NO_MODEL)
        lacking = laboratory.lacking(regime, prepared, used)
        tokens = self.workload.tokens(lacking)
        return replace(
            plan,
            signal=None if regime.is_baseline else self._signal(question, prepared, items, planned),
            stored=len(used) - len(lacking),
            tokens=tokens,
            counted=True,
            seconds=laboratory.speeds.seconds(laboratory.scored_as(regime), items[0].output_type, tokens),
            gflop=2 * self._weights * tokens / 1e9,
            note="" if regime.is_baseline else question.too_few(items),
        )

    @cached_property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint, if it is here."""
        try:
            return self.laboratory.checkpoint
        except AbsentError:
            return None

    @cached_property
    def workload(self) -> Workload:
        if self.checkpoint is None:
            return Workload(None, self.laboratory.seed)
        from pytest_qllm.engine.encoding import Encoder
        from pytest_qllm.models.loader import load_config, load_tokenizer

        path = self.checkpoint.path
        return Workload(Encoder(load_tokenizer(path), load_config(path)), self.laboratory.seed)

    @cached_property
    def _weights(self) -> int:
        assert self.checkpoint is not None
        return parameters(Path(self.checkpoint.path))

    def _advice(self, question: Question, available: int) -> str:
        """What gives the test more items, where anything does."""
        if available < question.items:
            return "there are no more: widen the tolerance"
        more = "--qllm-max-items" if question.items == self.max_items else "the test's items"
        return f"raise {more} or the tolerance"

    def _signal(self, question: Question, prepared: LmEvalBenchmark, items: Sequence[Item], planned: int) -> str | None:
        """Why the baseline could not carry a verdict, if it is measured already; None where it is not."""
        laboratory = self.laboratory
        for measured in (items[:planned], items):
            if not laboratory.lacking(BASELINE, prepared, measured):
                found = laboratory.measure(BASELINE, prepared, measured)
                sample = replace(found, items=found.items[:planned]).sample(question.metric)
                return question.lacks_signal(sample) or ""
        return None
