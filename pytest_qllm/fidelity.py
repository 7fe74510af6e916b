"""Fidelity of a candidate on the texts of a perplexity benchmark, measured in the same pass as the perplexity.

Beside the scores of a chunk of texts stand, in the store, the baseline's final hidden states (``states``), or a
candidate's comparison with them, position by position (``divergence``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_qllm.engine.engine import Continuation, Engine, Generated, Generation, Scored
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

if TYPE_CHECKING:
    import torch

    from pytest_qllm.engine.divergence import Observable
    from pytest_qllm.engine.torch_engine import TorchEngine

_FILE = "positions.safetensors"
_HEAD = "head.safetensors"


class FidelityStore:
    """Where states and divergences are; ``chunk`` is the name of a chunk of texts, ``head`` that of the baseline's."""

    def __init__(self, store: Store, baseline: str, head: str) -> None:
        self.store = store
        self.baseline = baseline
        self.head = head

    def has(self, key: str, chunk: str) -> bool:
        """Whether the chunk's texts were compared (or, for the baseline, its states kept) under that key."""
        is_there = (self.store.root / self._kind(key) / key / chunk / _FILE).is_file()
        return is_there and (key != self.baseline or (self.store.root / "heads" / self.head / _HEAD).is_file())

    def observed(self, engine: Observable, key: str, chunk: str) -> Engine:
        """The engine, with a ``rolling`` that keeps the baseline's states, or compares a candidate with them."""
        return _Observed(engine, self, key, chunk)

    def keep(self, engine: TorchEngine, texts: Sequence[str], chunk: str) -> list[Scored]:
        """Score texts by the baseline; keep its states and its head."""
        from safetensors.torch import save_file

        from pytest_qllm.engine.divergence import States

        states = States()
        scored = engine.rolling(texts, states)
        self.store.directory("heads", self.head, make=lambda into: _save_head(engine, into))
        self._put(self.baseline, chunk, lambda into: save_file({"states": states.tensor()}, into / _FILE))
        return scored

    def compare(self, engine: Observable, texts: Sequence[str], key: str, chunk: str) -> list[Scored]:
        """Score texts by a candidate; keep its comparison with the baseline.

        Raises:
            QllmError: if the baseline's states are not there.
        """
        from safetensors.torch import save_file

        from pytest_qllm.engine.divergence import Divergence

        states = self._load(self.baseline, chunk)["states"]
        head = _linear(_load(self.store.root / "heads" / self.head / _HEAD)).to(states.dtype)
        divergence = Divergence(states, engine.baseline_logits(head))
        scored = engine.rolling(texts, divergence)
        self._put(key, chunk, lambda into: save_file({"positions": divergence.tensor()}, into / _FILE))
        return scored

    def positions(self, key: str, chunk: str) -> torch.Tensor:
        """A candidate's comparison of each position of a chunk, shape (positions, 4)."""
        return self._load(key, chunk)["positions"]

    def _kind(self, key: str) -> str:
        return "states" if key == self.baseline else "divergence"

    def _put(self, key: str, chunk: str, make: Callable[[Path], None]) -> None:
        self.store.directory(self._kind(key), key, chunk, make=make)

    def _load(self, key: str, chunk: str) -> dict[str, torch.Tensor]:
        return _load(self.store.root / self._kind(key) / key / chunk / _FILE)


class _Observed:
    """An engine whose rolling log-likelihoods leave something in the store."""

    def __init__(self, engine: Observable, fidelity: FidelityStore, key: str, chunk: str) -> None:
        self.engine = engine
        self.fidelity = fidelity
        self.key = key
        self.chunk = chunk

    @property
    def computed(self) -> int:
        return self.engine.computed

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        return self.engine.continuations(items)

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        if self.key == self.fidelity.baseline:
            return self.fidelity.keep(cast("TorchEngine", self.engine), texts, self.chunk)
        return self.fidelity.compare(self.engine, texts, self.key, self.chunk)

    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        return self.engine.generations(requests)


def _load(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise QllmError(f"{path} is missing or damaged; delete its directory, it is made again") from error


def _save_head(engine: TorchEngine, into: Path) -> None:
    """The baseline's output head, in half precision where that loses nothing."""
    import torch
    from safetensors.torch import save_file

    own = engine.model.get_output_embeddings()
    tensors = {"weight": own.weight} if own.bias is None else {"weight": own.weight, "bias": own.bias}
    halved = {name: tensor.detach().to(torch.float16) for name, tensor in tensors.items()}
    is_exact = all(bool((halved[name].to(tensor.dtype) == tensor).all()) for name, tensor in tensors.items())
    kept = halved if is_exact else {name: tensor.detach() for name, tensor in tensors.items()}
    save_file({name: tensor.contiguous().cpu() for name, tensor in kept.items()}, into / _HEAD)


def _linear(tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    from torch import nn

    weight = tensors["weight"]
    head = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in tensors, device="meta")
    head.load_state_dict(tensors, assign=True)
    return head
