"""From (model, regime, benchmark) to a measurement, through the store: what was measured is not measured again."""

from __future__ import annotations

import importlib.metadata
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.engine.engine import VERSION, Continuation
from pytest_qllm.errors import QllmError, QllmWarning, UnavailableError
from pytest_qllm.fidelity import FidelityStore
from pytest_qllm.measurement import ItemScore, Measurement
from pytest_qllm.models.source import Checkpoint
from pytest_qllm.regimes.backends import backend, dense_backend
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.speed import Speeds
from pytest_qllm.store import Store, digest
from pytest_qllm.verdict import noise
from pytest_qllm.verdict.fidelity import Fidelity, summarize
from pytest_qllm.verdict.noise import NoiseFloor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.engine.torch_engine import TorchEngine

PACKING_TOLERANCE = {"float32": 1e-3, "bfloat16": 1.0, "float16": 0.25}
"""Nats; a mask that a model ignores moves a log-likelihood by tens of nats, rounding by less than this."""

SCORES = 2
"""Part of the store's key: counted up whenever there are other metrics of the same answers (2: ``prob``)."""

NOISE_ITEMS = 8
NOISE_ITEMS_LONG = 2
"""Items that are scored again for the noise floor: eight show how far a log-likelihood moves. Of texts and generations,
each of which has hundreds of tokens, two."""


@dataclass(frozen=True)
class Compute:
    """How scores are computed: dtype and device by name, and torch's threads."""

    dtype: str
    device: str
    threads: int


class Laboratory:
    """Measures regimes of one checkpoint. Holds at most one model in memory: that of the last regime.

    Weight-only regimes are scored with their dense weights where the backend can tell them, unless ``exact_kernels``.
    """

    def __init__(
        self,
        checkpoint: Callable[[], Checkpoint],
        data: DataSource,
        compute: Compute,
        seed: int,
        store: Store,
        *,
        exact_kernels: bool = False,
    ) -> None:
        self._resolve = checkpoint
        self.data = data
        self.compute = compute
        self.seed = seed
        self.store = store
        self.exact_kernels = exact_kernels
        self._checkpoint: Checkpoint | None = None
        self._engine: tuple[str, TorchEngine] | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is None:
            self._checkpoint = self._resolve()
        return self._checkpoint

    def benchmark(self, benchmark: Benchmark) -> LmEvalBenchmark:
        return LmEvalBenchmark(benchmark, self.data, self.seed)

    def items(self, benchmark: LmEvalBenchmark, count: int) -> list[Item]:
        return benchmark.items(count, self.store)

    def measure(self, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> Measurement:
        """Scores of the items, in order; only what the store lacks is computed, a chunk at a time.

        Raises:
            QllmError: if the model cannot be made or loaded, or gives scores that are no numbers.
        """
        key = digest(self._identity(regime, benchmark))
        name = benchmark.benchmark.name
        scores: list[ItemScore] = []
        for chunk in _chunks(benchmark, items):
            scores += self._chunk(regime, benchmark, key, chunk)
            self.store.progress(f"{name}[{regime.name}] {len(scores)}/{len(items)} items")
        return Measurement(regime.name, name, tuple(scores), self.provenance(regime, benchmark))

    def provenance(self, regime: Regime, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        return {
            **self._identity(regime, benchmark),
            "data": self.data.describe(benchmark.benchmark),
            "seed": self.seed,
            "machine": platform.machine(),
        }

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
        if items[0].output_type == "multiple_choice":
            normalized = metric == "acc_norm"
            lengths = [[len(text.lstrip()) if normalized else 1 for _, text in item.requests] for item in items]
            one, other, every = ([score.loglikelihoods for score in some] for some in (first, again, baseline))
            found = noise.of_choices(one, other, every, lengths, flips)
            if metric == PROB:
                of_first, of_again = ([score.metrics[PROB] for score in some] for some in (first, again))
                return noise.of_probabilities(
                    of_first, of_again, found.largest, flips, found.expected_flips, len(items)
                )
            return found
        differences = [
            sum(other.loglikelihoods) - sum(one.loglikelihoods) for one, other in zip(first, again, strict=True)
        ]
        return noise.of_flips(differences, flips, len(items))

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
                    engine = self.engine(BASELINE, items)
                    with engine.other_batches():
                        found = benchmark.score(some[::-1], engine)[::-1]
                    self.store.write([score.to_json() for score in found], *place)
        return found

    def _fidelity_store(self, benchmark: LmEvalBenchmark) -> FidelityStore:
        head = digest([self.checkpoint.weights, self.compute.dtype])
        return FidelityStore(self.store, digest(self._identity(BASELINE, benchmark)), head)

    def _chunk(self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item]) -> list[ItemScore]:
        found = self._stored(key, benchmark, items)
        if found is None:
            with self.store.lock(f"measure-{key}-{_name(items)}"):
                found = self._stored(key, benchmark, items)
                if found is None:
                    found = self._score(regime, benchmark, key, items)
                    self.store.write([score.to_json() for score in found], "measurements", key, _name(items))
        return found

    def _score(self, regime: Regime, benchmark: LmEvalBenchmark, key: str, items: Sequence[Item]) -> list[ItemScore]:
        engine = self.engine(regime, items)
        before, start = engine.runner.computed, time.perf_counter()
        asked = self._fidelity_store(benchmark).observed(engine, key, _name(items)) if _are_texts(items) else engine
        scores = benchmark.score(items, asked)
        seconds, tokens = time.perf_counter() - start, engine.runner.computed - before
        self.speeds.add(self.scored_as(regime), items[0].output_type, tokens, seconds)
        return scores

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
        scores = [ItemScore(**fields) for fields in content]
        return scores if [score.id for score in scores] == [item.id for item in items] else None

    def _identity(self, regime: Regime, benchmark: LmEvalBenchmark) -> dict[str, Any]:
        return {
            "weights": self.checkpoint.weights,
            "tokenizer": self.checkpoint.tokenizer,
            "regime": self.recipe(regime),
            "kernels": self.kernels(regime),
            "benchmark": benchmark.identity(),
            "dtype": self.compute.dtype,
            "device": self.compute.device.split(":")[0],
            "engine": engine_version(),
            "scores": SCORES,
        }

    def kernels(self, regime: Regime) -> str:
        """What is scored: ``dense`` (plain matrix products) or ``exact`` (the library's own kernels).

        Raises:
            QllmError: if the regime's backend cannot be imported.
        """
        if regime.is_baseline:
            return "dense"
        with _attributed(regime, "make"):
            return "exact" if self.exact_kernels or dense_backend(regime) is None else "dense"

    def recipe(self, regime: Regime) -> dict[str, Any]:
        """What decides the quantized weights, but for the checkpoint."""
        recipe = regime.recipe()
        return recipe | {"seed": self.seed} if "calibration" in regime.options else recipe

    def engine(self, regime: Regime, items: Sequence[Item]) -> TorchEngine:
        """The regime's model, loaded (and quantized, if the store has no artifact) at the first call."""
        if self._engine is None or self._engine[0] != regime.name:
            self.forget()
            self._engine = (regime.name, self._load(regime))
        engine = self._engine[1]
        engine.packed = self._can_pack(regime, engine, items)
        return engine

    def forget(self) -> None:
        """Free the memory of the model that was measured last."""
        import gc

        self._engine = None
        gc.collect()

    def _load(self, regime: Regime) -> TorchEngine:
        try:
            import torch

            from pytest_qllm.engine.torch_engine import TorchEngine
            from pytest_qllm.models.loader import load_dense, load_tokenizer
        except ImportError as error:
            raise UnavailableError(f"models need {error.name}: pip install 'pytest-qllm[model]'") from None
        torch.set_num_threads(self.compute.threads)
        dtype = getattr(torch, self.compute.dtype)
        tokenizer = load_tokenizer(self.checkpoint.path)
        if regime.is_baseline:
            model = load_dense(self.checkpoint.path, dtype, self.compute.device)
        else:
            model = self.load(regime, self.kernels(regime))
        highest, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().weight.shape[0]
        if highest >= rows:
            raise QllmError(
                f"the tokenizer of {self.checkpoint.path} has token {highest}, the model's last is {rows - 1}: they do "
                "not belong together"
            )
        return TorchEngine(model, tokenizer, packed=False)

    def load(self, regime: Regime, kernels: str) -> PreTrainedModel:
        """The regime's model, with ``dense`` weights or its ``exact`` kernels; quantized first, if need be."""
        import torch

        torch.set_num_threads(self.compute.threads)
        artifact = self.artifact(regime)
        self.store.progress(f"loading {regime.name}")
        with _attributed(regime, "load", f" from {artifact}", "; if it is damaged, delete it: it is made again"):
            dense = dense_backend(regime) if kernels == "dense" else None
            load = backend(regime).load if dense is None else dense.dense
            return load(artifact, getattr(torch, self.compute.dtype), self.compute.device)

    def artifact(self, regime: Regime) -> Path:
        """The quantized model in the store, made at the first call.

        Raises:
            QllmError: if the library fails; nothing of the attempt is kept.
        """
        from pytest_qllm.benchmarks.data import calibration_texts

        key = digest([self.checkpoint.weights, self.checkpoint.tokenizer, self.recipe(regime)])

        def make(into: Path) -> None:
            self.store.progress(f"quantizing to {regime.name} (once)")
            texts = calibration_texts(self.data.cache) if "calibration" in regime.options else []
            with _attributed(regime, "make"):
                backend(regime).build(regime, self.checkpoint.path, texts, self.seed, into)

        return self.store.directory("artifacts", f"{regime.name}-{key}", make=make)

    def _can_pack(self, regime: Regime, engine: TorchEngine, items: Sequence[Item]) -> bool:
        """Whether the model's attention honours the tree mask: found on the baseline, kept in the store.

        It is a property of the architecture. A regime that quantizes activations changes its scores with the batch,
        so that its own plain and packed scores cannot tell.
        """
        place = ("packing", digest([self.checkpoint.weights, self.compute.dtype, engine_version()]))
        known = self.store.read(*place)
        if known is None:
            with self.store.lock(f"packing-{place[1]}"):
                known = self.store.read(*place)
                if known is None:
                    reference = engine if regime.is_baseline else self._load(BASELINE)
                    found = reference.difference(_probes(items))
                    known = {"largest_difference": found if isfinite(found) else None}
                    self.store.write(known, *place)
        difference, allowed = known["largest_difference"], PACKING_TOLERANCE[self.compute.dtype]
        if difference is not None and difference <= allowed:
            return True
        cause = "cannot be packed" if difference is None else f"scores {difference:.2g} nats off when it is packed"
        warnings.warn(
            f"{self.checkpoint.name} {cause}: its attention does not know rows of ours, so every request is scored in "
            "a row of its own, as transformers does it; the scores are right, and take several times as long",
            QllmWarning,
            stacklevel=2,
        )
        return False


BASELINE = Regime("fp16", "none", 16)

_PASSAGE = (
    "The harbour of the old town lies between two hills. Fishing boats leave it before sunrise, and come back when the "
    "market opens at seven. On Sundays the square stays empty until noon.\n\n"
)


def _probes(items: Sequence[Item]) -> list[list[Continuation]]:
    """Requests that take every way through the engine: a shared beginning, a context, several continuations of it."""
    texts = [" yes", " no, and nobody knows", " no, not at all"]
    return [
        [Continuation(_PASSAGE + item.requests[0][0][:1000], text, len(_PASSAGE)) for text in texts]
        for item in items[:4]
    ]


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


@contextmanager
def _attributed(regime: Regime, deed: str, whence: str = "", advice: str = "") -> Iterator[None]:
    """Each library raises errors of its own: the user needs its name and the first line."""
    try:
        yield
    except (QllmError, MemoryError):
        raise
    except Exception as error:
        if deed == "make" and isinstance(error, OSError):
            raise  # the store knows a full disk
        library = regime.library or regime.backend
        raise QllmError(f"{library} cannot {deed} {regime.name}{whence} ({_told(error)}){advice}") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def engine_version() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    return {"version": VERSION, **versions}
