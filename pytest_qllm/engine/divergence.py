"""How far a candidate's next-token distributions are from the baseline's, position by position.

A distribution over a vocabulary of 49,152 tokens is 192 KiB in float32; the final hidden state that it is made from is
2.3 KiB. So the baseline's hidden states are kept, with its output head, and its exact logits are made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from pytest_qllm.engine.engine import Engine, Scored


class Observer(Protocol):
    """Sees every scored position of rolling windows once, in the order of the texts."""

    def see(self, hidden: torch.Tensor | None, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """A block of positions: hidden states (n, width), logits (n, vocabulary) and true next tokens (n,).

        ``hidden`` is None for an engine that tells its logits alone.
        """


class Observable(Engine, Protocol):
    """An engine whose scored positions can be observed and compared with the baseline's."""

    def rolling(self, texts: Sequence[str], observer: Observer | None = None) -> list[Scored]:
        """As the protocol says; ``observer`` sees every scored position, in order."""

    def baseline_logits(self, head: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """What makes the baseline's logits of its hidden states, with its output head, scale and cap."""


class States:
    """Keeps the final hidden states."""

    def __init__(self) -> None:
        self._blocks: list[torch.Tensor] = []

    def see(self, hidden: torch.Tensor | None, logits: torch.Tensor, targets: torch.Tensor) -> None:
        if hidden is None:
            raise ValueError("this engine tells no hidden states: it cannot be the baseline")
        self._blocks.append(hidden.cpu())

    def tensor(self) -> torch.Tensor:
        """Shape (positions, width), in the dtype of the model."""
        return torch.cat(self._blocks) if self._blocks else torch.empty(0, 0)


class Divergence:
    """Compares each position with the baseline's there.

    Args:
        states: the baseline's final hidden states, shape (positions, width).
        logits: makes the baseline's logits from some of them.
    """

    def __init__(self, states: torch.Tensor, logits: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._states = states
        self._logits = logits
        self._seen = 0
        self._blocks: list[torch.Tensor] = []

    def see(self, hidden: torch.Tensor | None, logits: torch.Tensor, targets: torch.Tensor) -> None:
        states = self._states[self._seen : self._seen + len(logits)].to(logits.device)
        self._seen += len(logits)
        baseline = self._logits(states)
        # A head may be padded to another number of rows; no token of a text is beyond the smaller one.
        width = min(baseline.shape[-1], logits.shape[-1])
        self._blocks.append(compare(baseline[:, :width], logits[:, :width], targets).cpu())

    def tensor(self) -> torch.Tensor:
        """Shape (positions, 4), columns as of ``compare``.

        Raises:
            ValueError: if candidate and baseline did not see the same number of positions.
        """
        if self._seen != len(self._states):
            raise ValueError(f"{self._seen} positions were compared with {len(self._states)} of the baseline")
        return torch.cat(self._blocks) if self._blocks else torch.empty(0, 4)


def compare(baseline: torch.Tensor, candidate: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Per position: KL divergence from the baseline in nats, same top token, p(true token) under both.

    The divergence is exact, over the whole vocabulary; the figures are those of llama.cpp's ``--kl-divergence``.

    Args:
        baseline, candidate: logits, shape (positions, vocabulary).
        targets: true next tokens, shape (positions,).

    Returns:
        float32, shape (positions, 4).
    """
    one, other = _logprobs(baseline), _logprobs(candidate)
    divergence = (one.exp() * (one - other)).sum(-1).clamp_min(0)  # rounding alone makes it negative
    same = (baseline.argmax(-1) == candidate.argmax(-1)).float()
    true = targets[:, None]
    return torch.stack([divergence, same, one.gather(1, true)[:, 0].exp(), other.gather(1, true)[:, 0].exp()], 1)


def _logprobs(logits: torch.Tensor) -> torch.Tensor:
    # Not torch.log_softmax: on a CPU its sum over a large vocabulary is 2e-5 off in float32, logsumexp's 1e-7.
    logits = logits.float()
    return logits - logits.logsumexp(-1, keepdim=True)
