"""Makes the models of a checkpoint's regimes: quantizes them, through the store, and loads them into an engine."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_qllm import calibration, memory
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.lm_eval import Item
from pytest_qllm.engine.engine import VERSION, Continuation
from pytest_qllm.errors import QllmError, QllmWarning, UnavailableError
from pytest_qllm.models import adapter, source
from pytest_qllm.models.source import AbsentError, Checkpoint
from pytest_qllm.regimes import checkpoint
from pytest_qllm.regimes.backends import backend, dense_backend, engine_backend
from pytest_qllm.regimes.regime import KV, Regime, version_of
from pytest_qllm.regimes.size import VERSION as SIZE_VERSION
from pytest_qllm.regimes.size import Size, folder_of, matrices, of_artifact
from pytest_qllm.store import Store, digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from pytest_qllm.benchmarks.judge import Endpoint
    from pytest_qllm.engine.divergence import Observable
    from pytest_qllm.engine.torch_engine import TorchEngine

PACKING_TOLERANCE = {"float32": 1e-3, "bfloat16": 1.0, "float16": 0.25}
"""Nats; a mask that a model ignores moves a log-likelihood by tens of nats, rounding by less than this."""

ROOM = 12
"""Models of 16 bits (or of float32, where that is computed in) for which a machine has room before two are kept: four
workers hold eight, and what is computed with them takes as much as some more."""


@dataclass(frozen=True)
class Compute:
    """How scores are computed: dtype and device by name, and torch's threads."""

    dtype: str
    device: str
    threads: int


class Workshop:
    """Models of one checkpoint. Holds that of the last regime in memory, and the baseline where there is room.

    Weight-only regimes are loaded with their dense weights where the backend can tell them, unless ``exact_kernels``.
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
        chat_template: str = "off",
        judge: Endpoint | None = None,
    ) -> None:
        self._resolve = checkpoint
        self.data = data
        self.compute = compute
        self.seed = seed
        self.store = store
        self.exact_kernels = exact_kernels
        self.chat_template = chat_template
        self.judge = judge
        self._checkpoint: Checkpoint | None = None
        self._engines: dict[str, Observable] = {}

    @property
    def checkpoint(self) -> Checkpoint:
        if self._checkpoint is None:
            self._checkpoint = self._resolve()
        return self._checkpoint

    def kernels(self, regime: Regime) -> str:
        """What is scored: ``dense`` (plain matrix products) or ``exact`` (the library's own kernels).

        Raises:
            QllmError: if the regime's backend cannot be imported.
        """
        if regime.base.is_baseline or checkpoint.dequantized(regime, self.compute.device):
            return "dense"
        with _attributed(regime, "make"):
            return "exact" if self.exact_kernels or dense_backend(regime) is None else "dense"

    def recipe(self, regime: Regime) -> dict[str, Any]:
        """What decides the quantized weights but for the checkpoint, and with them an adapter and the cache's width.

        Raises:
            QllmError: if a file that is part of it is not there.
        """
        recipe = regime.recipe()
        if "calibration" in regime.options:
            texts = dict(regime.options["calibration"])
            texts["corpus"] = calibration.identity(texts["corpus"])
            recipe |= {"options": {**regime.options, "calibration": texts}, "seed": self.seed}
        if regime.backend.startswith("checkpoint"):
            path = checkpoint.fetched(regime)
            kept = {name: value for name, value in regime.options.items() if name not in ("path", "hub")}
            recipe |= {"options": {**kept, "content": source.content(path, self.data.cache)}}
        if regime.adapter:
            recipe["adapter"] = adapter.fingerprint(regime.adapter)
        if regime.kv:
            recipe["kv"] = {"width": regime.kv, "version": KV, "library": version_of(regime.kv_library)}
        return recipe

    def engine(self, regime: Regime, items: Sequence[Item]) -> Observable:
        """The regime's model, loaded (and quantized, if the store has no artifact) at the first call."""
        if regime.name not in self._engines:
            self._make_room(regime)
            own = self._own_engine(regime)
            self._engines[regime.name] = self._load(regime) if own is None else own
        engine = self._engines[regime.name]
        if engine_backend(regime) is None:
            torch_engine = cast("TorchEngine", engine)
            torch_engine.packed = not regime.kv and self._can_pack(regime, torch_engine, items)
        return engine

    def baseline_engine(self, items: Sequence[Item]) -> TorchEngine:
        """The baseline's model, which transformers always runs."""
        return cast("TorchEngine", self.engine(BASELINE, items))

    def sized(self, regime: Regime, *, make: bool = True) -> Regime:
        """The regime with the bits that its weights really take, for which the artifact is made if need be.

        Without ``make``, and without a size in the store, it stays as it is.

        Raises:
            QllmError: if the artifact cannot be made, or its size not be told.
        """
        found = self.size(regime, make=make)
        return regime if found is None else replace(regime, bits_per_weight=found.bits_per_weight)

    def size(self, regime: Regime, *, make: bool = True) -> Size | None:
        """What the quantized model weighs; None for the FP16 checkpoint, or where no artifact tells."""
        base = regime.base
        if base.is_baseline or base.options.get("unpacked"):
            return None
        try:
            place = ("sizes", f"{base.name}-{self._key(base)}-{SIZE_VERSION}")
        except AbsentError:
            if make:
                raise
            return None
        known = self.store.read(*place)
        if known is None:
            if not make:
                return None
            artifact = self.artifact(base)
            with _attributed(base, "weigh"):
                own = getattr(backend(base), "size", None)
                found = own(artifact) if own is not None else of_artifact(artifact, *matrices(self.checkpoint.path))
            known = {} if found is None else found.to_json()
            self.store.write(known, *place)
        return Size(**known) if known else None

    @cached_property
    def keeps_baseline(self) -> bool:
        """Whether the baseline stays in memory beside a regime, so that both may go on in turns.

        Where it does not, loading it again costs more than the items that it need not answer.
        """
        room = memory.total(self.compute.device)
        weights = source.parameters(Path(self.checkpoint.path)) * (4 if self.compute.dtype == "float32" else 2)
        return room is not None and ROOM * weights <= room

    def forget(self, keep: Collection[str] = ()) -> None:
        """Free the memory of the models that were measured last, but for those of that name."""
        import gc

        for name in [name for name in self._engines if name not in keep]:
            del self._engines[name]
        gc.collect()

    def _make_room(self, regime: Regime) -> None:
        """Forget every model but the baseline; before the baseline, none; and all where there is no room for two."""
        if not self.keeps_baseline:
            self.forget()
        elif not regime.is_baseline:
            self.forget(keep=[BASELINE.name])

    def _own_engine(self, regime: Regime) -> Observable | None:
        """The engine of a backend that has one, else None."""
        with _attributed(regime, "make"):
            found = engine_backend(regime)
        if found is None:
            return None
        if regime.adapter or regime.kv:
            raise QllmError(f"{regime.name}: {regime.library} takes no {'adapter' if regime.adapter else 'kv='} here")
        artifact = self.artifact(regime)
        self.store.progress(f"loading {regime.name}")
        with _attributed(regime, "load", *_origin(regime, artifact)):
            return found.engine(artifact, self.checkpoint.path, self.compute.threads)

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
        if regime.base.is_baseline:
            model = load_dense(self.checkpoint.path, dtype, self.compute.device)
        else:
            model = self.load(regime.base, self.kernels(regime))
        if regime.adapter:
            model = adapter.add(model, regime.adapter)
        highest, rows = max(tokenizer.get_vocab().values()), model.get_input_embeddings().weight.shape[0]
        if highest >= rows:
            raise QllmError(
                f"the tokenizer of {self.checkpoint.path} has token {highest}, the model's last is {rows - 1}: they do "
                "not belong together"
            )
        if regime.kv:
            from pytest_qllm.engine.kv_engine import QuantizedCacheEngine

            return QuantizedCacheEngine(model, tokenizer, int(regime.kv.removeprefix("int")))
        return TorchEngine(model, tokenizer, packed=False)

    def load(self, regime: Regime, kernels: str) -> PreTrainedModel:
        """The regime's model, with ``dense`` weights or its ``exact`` kernels; quantized first, if need be."""
        import torch

        torch.set_num_threads(self.compute.threads)
        artifact = self.artifact(regime)
        self.store.progress(f"loading {regime.name}")
        with _attributed(regime, "load", *_origin(regime, artifact)):
            dense = dense_backend(regime) if kernels == "dense" else None
            load = backend(regime).load if dense is None else dense.dense
            return load(artifact, getattr(torch, self.compute.dtype), self.compute.device)

    def artifact(self, regime: Regime) -> Path:
        """The quantized model in the store, made at the first call; an adapter or a small cache is no part of it.

        Raises:
            QllmError: if the library fails; nothing of the attempt is kept.
        """
        regime = regime.base
        key = self._key(regime)

        def make(into: Path) -> None:
            self.store.progress(f"quantizing to {regime.name} (once)")
            corpus = regime.options.get("calibration", {}).get("corpus")
            texts = [] if corpus is None else calibration.texts(corpus, self.data.cache)
            with _attributed(regime, "make"):
                backend(regime).build(regime, self.checkpoint.path, texts, self.seed, into)

        return self.store.directory("artifacts", f"{regime.name}-{key}", make=make)

    def _key(self, regime: Regime) -> str:
        return digest([self.checkpoint.weights, self.checkpoint.tokenizer, self.recipe(regime)])

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
        library = regime.library or ("transformers" if regime.backend.startswith("checkpoint") else regime.backend)
        raise QllmError(f"{library} cannot {deed} {regime.name}{whence} ({_told(error)}){advice}") from error


def _origin(regime: Regime, artifact: Path) -> tuple[str, str]:
    """Where a quantized model lies, and what to do if it is damaged."""
    if regime.backend.startswith("checkpoint"):
        return f" from {folder_of(artifact)}", "; if it is damaged, save or fetch it again: it is not made here"
    return f" from {artifact}", "; if it is damaged, delete it: it is made again"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def engine_version() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")}
    return {"version": VERSION, **versions}
