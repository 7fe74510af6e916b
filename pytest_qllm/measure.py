"""From (model, regime, benchmark) to a measurement, through the store: what was measured is not measured again."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pytest_qllm import index
from pytest_qllm.benchmarks import own_score
from pytest_qllm.benchmarks.forms import prepared
from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.benchmarks.judge import Judge
from pytest_qllm.benchmarks.kept import KeptAnswers
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.errors import QllmError
from pytest_qllm.fidelity import FidelityStore
from pytest_qllm.measurement import ItemScore, Measurement
from pytest_qllm.models.chat import ChatTemplate
from pytest_qllm.models.source import AbsentError, parameters
from pytest_qllm.regimes.regime import DENSE, Regime
from pytest_qllm.speed import Speeds
from pytest_qllm.store import Count, digest
from pytest_qllm.verdict import noise
from pytest_qllm.verdict.fidelity import Fidelity, summarize
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.noise import NoiseFloor
from pytest_qllm.workshop import BASELINE, Workshop, engine_version

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark

SCORES = 3
"""Part of the store's key: counted up whenever there are other metrics of the same answers (3: BLEU and chrF)."""

NOISE_ITEMS = 8
NOISE_ITEMS_LONG = 2
"""Items that are scored again for the noise floor: eight show how far a log-likelihood moves. Of texts and generations,
each of which has hundreds of tokens, two."""


class Laboratory(Workshop):
    """Measures regimes of one checkpoint."""

    def benchmark(self, benchmark: Benchmark) -> LmEvalBenchmark:
        judge = None if self.judge is None else Judge(self.judge, self.store)
        return prepared(benchmark, self.data, self.seed, judge, self._chat_for(benchmark), self._chat)

    def _chat_for(self, benchmark: Benchmark) -> ChatTemplate | None:
        """The template in which a benchmark's questions are put, as ``--qllm-chat-template`` says.

        Raises:
            QllmError: if it has to be one, and the checkpoint has none.
        """
        is_text = benchmark.metric == "perplexity"
        if self.chat_template == "off" or is_text or (self.chat_template == "auto" and not benchmark.chat):
            return None
        try:
            exists = self._chat.exists
        except AbsentError:  # a plan fetches nothing
            return None
        if not exists and self.chat_template == "on":
            raise QllmError(
                f"--qllm-chat-template is 'on', and {self.checkpoint.path} has no chat template; expected a model that "
                "is tuned for instructions, or --qllm-chat-template=off"
            )
        return self._chat if exists else None

    @cached_property
    def _chat(self) -> ChatTemplate:
        return ChatTemplate(lambda: self.checkpoint.path)

    def items(self, benchmark: LmEvalBenchmark, count: int) -> list[Item]:
        return benchmark.items(count, self.store)

    def is_here(self, benchmark: Benchmark) -> bool:
        """Whether the documents can be read without fetching anything."""
        return self.data.is_here(benchmark)

    def usable(self, benchmark: LmEvalBenchmark, items: Sequence[Item], alpha: float) -> Sequence[Item]:
        """The items that a verdict may rest on; all of a single benchmark's (``dimension`` leaves some out)."""
        return items

    def measure(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> Measurement:
        """Scores of the items, in order; only what the store lacks is computed, a chunk at a time.

        Raises:
            QllmError: if the model cannot be made or loaded, or gives scores that are no numbers.
        """
        key = digest(self._identity(regime, benchmark))
        name = benchmark.benchmark.name
        scores: list[ItemScore] = []

        def note() -> None:
            self._note(key, f"{name}[{regime.name}]", len(scores), len(items))

        for chunk in _chunks(benchmark, items):
            note()
            scores += self._chunk(regime, benchmark, key, chunk, note)
        note()
        scores = benchmark.completed(items, scores)
        self.name_subject(regime, benchmark, benchmark.benchmark.metric)
        return Measurement(regime.name, name, tuple(scores), self.provenance(regime, benchmark))

    def _note(self, key: str, what: str, done: int, total: int) -> None:
        items, seconds = self._paces.get(key, (0, 0.0))
        self.store.progress(what, Count(done, total, items / seconds if seconds else None))

    def name_subject(self, regime: Regime, benchmark: LmEvalBenchmark, metric: str) -> None:
        """Write beside the scores whose they are, and which metric of theirs is asked for; once in a process."""
        key = digest(self._identity(regime, benchmark))
        named = (key, benchmark.benchmark.name, metric)
        if named in self._named:
            return
        self._named.add(named)
        asked, size = benchmark.benchmark, self.size(regime, make=False)
        is_whole = regime.base.is_baseline and not regime.adapter
        weight = 2 * parameters(self.checkpoint.path) if is_whole else None if size is None else size.bytes
        subject = index.Subject(
            self.checkpoint.name,
            regime.name,
            regime.method,
            regime.judged_bits,
            weight,
            asked.name,
            asked.dimension,
            metric,
            str(asked.kind_of(metric)),
            self._identity(regime, benchmark),
            dict(asked.kinds),
            metric == asked.metric,
        )
        index.note(self.store, key, subject)

    @cached_property
    def _named(self) -> set[tuple[str, str, str]]:
        """Key, benchmark and metric, of which this process has written whose scores they are."""
        return set()

    @cached_property
    def _paces(self) -> dict[str, tuple[int, float]]:
        """Items that this process computed, and the seconds that it took, by what was measured."""
        return {}

    def provenance(self, regime: Regime, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        return {
            **self._identity(regime, benchmark),
            **own_score.provenance(benchmark.benchmark),
            "data": self.data.describe(benchmark.benchmark),
            "items": self._items_of(benchmark),
            "seed": self.seed,
            "machine": platform.machine(),
        }

    def _items_of(self, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        """Provenance of the items, looked up once: it is the same for every regime."""
        name = benchmark.benchmark.name
        if name not in self._provenances:
            self._provenances[name] = self.data.provenance(benchmark.benchmark)
        return self._provenances[name]

    @cached_property
    def _provenances(self) -> dict[str, dict[str, Any]]:
        return {}

    def is_stored(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> bool:
        """Whether the store has the scores of all these items."""
        return not self.lacking(regime, benchmark, items)

    def lacking(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> list[Item]:
        """The items whose scores the store does not have, by whole chunks."""
        key = digest(self._identity(regime, benchmark))
        chunks = _chunks(benchmark, items)
        return [item for chunk in chunks if self._stored(key, benchmark, chunk) is None for item in chunk]

    def fidelity(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> Fidelity | None:
        """How far a measured candidate is from the baseline on the texts; None where there are no texts.

        Raises:
            QllmError: if the comparison is not in the store.
        """
        if not _are_texts(items):
            return None
        import numpy as np

        key = digest(self._identity(regime, benchmark))
        store = self._fidelity_store(benchmark)
        scores = self.measure(regime, benchmark, items).items
        parts = [store.positions(key, _name(chunk)).numpy() for chunk in _chunks(benchmark, items)]
        return summarize(np.concatenate(parts).astype(np.float64), [sum(score.tokens) for score in scores])

    def noise(self, benchmark: LmEvalBenchmark, items: Sequence[Item], metric: str) -> NoiseFloor:
        """What the baseline's score moves by in other batches; a few items are scored again to tell."""
        baseline = self.measure(BASELINE, benchmark, items).items
        again = self._again(benchmark, items)
        first = baseline[: len(again)]
        flips = sum(_has_flipped(one, other, metric) for one, other in zip(first, again, strict=True))
        if _are_texts(items):
            totals, repeated = ([sum(score.loglikelihoods) for score in scores] for scores in (first, again))
            return noise.of_perplexity(totals, repeated, [sum(score.tokens) for score in first])
        kind = benchmark.benchmark.kind_of(metric)
        if items[0].output_type == "multiple_choice" and kind in (Kind.ACCURACY, Kind.SOFT):
            normalized = metric == "acc_norm"
            lengths = [[len(text.lstrip()) if normalized else 1 for _, text in item.requests] for item in items]
            one, other, every = ([score.loglikelihoods for score in some] for some in (first, again, baseline))
            found = noise.of_choices(one, other, every, lengths, flips)
            if kind is Kind.ACCURACY:
                return found
            before, after = _scores(metric, first), _scores(metric, again)
            return noise.of_means(before, after, found.largest, flips, found.expected_flips, len(items))
        differences = [
            sum(other.loglikelihoods) - sum(one.loglikelihoods) for one, other in zip(first, again, strict=True)
        ]
        if kind is Kind.ACCURACY:
            return noise.of_flips(differences, flips, len(items))
        largest, share = max(map(abs, differences)), flips / len(first)
        return noise.of_means(_scores(metric, first), _scores(metric, again), largest, flips, share, len(items))

    def _again(self, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> list[ItemScore]:
        """Scores of the first items by the baseline, each in other company than in its measurement."""
        is_long = items[0].output_type in ("generate_until", "loglikelihood_rolling")
        some = items[: NOISE_ITEMS_LONG if is_long else NOISE_ITEMS]
        place = ("again", digest(self._identity(BASELINE, benchmark)), _name(some))

        def read() -> list[ItemScore] | None:
            content = self.store.read(*place)
            return None if content is None else [ItemScore(**fields) for fields in content]

        found = read()
        if found is None:
            with self.store.lock("-".join(place)):
                found = read()
                if found is None:
                    engine = self.baseline_engine(items)
                    with engine.other_batches():
                        found = benchmark.score(some[::-1], engine)[::-1]
                    self.store.write([score.to_json() for score in found], *place)
        return benchmark.completed(some, found)

    def _fidelity_store(self, benchmark: LmEvalBenchmark) -> FidelityStore:
        head = digest([self.checkpoint.weights, self.compute.dtype])
        return FidelityStore(self.store, digest(self._identity(BASELINE, benchmark)), head)

    def _chunk(
        self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item], note: Callable[[], None]
    ) -> list[ItemScore]:
        found = self._stored(key, benchmark, items)
        if found is None:
            with self.store.lock(f"measure-{key}-{_name(items)}"):
                found = self._stored(key, benchmark, items)
                if found is None:
                    found = self._score(regime, benchmark, key, items, note)
                    self.store.write([score.to_json() for score in found], "measurements", key, _name(items))
        return found

    def _score(
        self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item], note: Callable[[], None]
    ) -> list[ItemScore]:
        if benchmark.benchmark.judged:
            return self._judged(regime, benchmark, key, items)
        engine = self.engine(regime, items)
        note()  # loading it said something else
        before, start = engine.computed, time.perf_counter()
        asked = self._fidelity_store(benchmark).observed(engine, key, _name(items)) if _are_texts(items) else engine
        scores = benchmark.score(items, asked)
        self._pace(regime, key, items, engine.computed - before, time.perf_counter() - start)
        return scores

    def _judged(self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item]) -> list[ItemScore]:
        """Scores by a judge; answers that the store has are judged without a model."""
        answers = KeptAnswers(lambda: self.engine(regime, items), self.store, self._answering(regime))
        scores = benchmark.score(items, answers)
        if answers.computed:
            self._pace(regime, key, items, answers.computed, answers.seconds)
        return scores

    def _pace(self, regime: Regime, key: str, items: Sequence[Item], tokens: int, seconds: float) -> None:
        known = self._paces.get(key, (0, 0.0))
        self._paces[key] = (known[0] + len(items), known[1] + seconds)
        self.speeds.add(self.scored_as(regime), items[0].output_type, tokens, seconds)

    def scored_as(self, regime: Regime) -> str:
        """What decides how fast a regime is: ``dense`` for plain matrix products, else the regime's own name."""
        kernels = self.kernels(regime)
        return kernels if kernels == "dense" else regime.name

    @cached_property
    def speeds(self) -> Speeds:
        from pytest_qllm.compute import processor

        machine = processor(self.compute.device)
        identity = [self.checkpoint.weights, self.compute.dtype, machine, engine_version()]
        return Speeds(self.store, identity, self.compute.threads)

    def _stored(self, key: str, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> list[ItemScore] | None:
        content = self.store.read("measurements", key, _name(items))
        if content is None or (_are_texts(items) and not self._fidelity_store(benchmark).has(key, _name(items))):
            return None
        if [fields["id"] for fields in content] != [item.id for item in items]:
            return None
        # Which items belong together is no part of what was measured: it may be told later.
        return [ItemScore(**{**fields, "cluster": item.cluster}) for fields, item in zip(content, items, strict=True)]

    def _identity(self, regime: Regime, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        asked = {"benchmark": benchmark.identity(), "scores": SCORES, **benchmark.judging()}
        return {**self._answering(regime), **asked}

    def _answering(self, regime: Regime) -> dict[str, Any]:
        """What decides the answers to a request, whatever it is."""
        read = {"dense": DENSE} if self.kernels(regime) == "dense" and not regime.base.is_baseline else {}
        return {
            **read,
            "weights": self.checkpoint.weights,
            "tokenizer": self.checkpoint.tokenizer,
            "regime": self.recipe(regime),
            "kernels": self.kernels(regime),
            "dtype": self.compute.dtype,
            "device": self.compute.device.split(":")[0],
            "engine": engine_version(),
        }


def _scores(metric: str, measured: Sequence[ItemScore]) -> list[float]:
    return [score.metrics[metric] for score in measured]


def _has_flipped(one: ItemScore, other: ItemScore, metric: str) -> bool:
    """A probability moves with every rounding; what flips is the answer."""
    return one.answer != other.answer if metric == PROB else one.metrics[metric] != other.metrics[metric]


def _chunks(benchmark: LmEvalBenchmark, items: Sequence[Item]) -> list[Sequence[Item]]:
    """Items that are measured and stored together."""
    size = benchmark.benchmark.chunk
    return [items[start : start + size] for start in range(0, len(items), size)]


def _name(chunk: Sequence[Item]) -> str:
    return digest([item.id for item in chunk])


def _are_texts(items: Sequence[Item]) -> bool:
    return items[0].output_type == "loglikelihood_rolling"
