"""From logits to log-likelihoods of the tokens that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from pytest_qllm.engine.engine import Scored


def score_blocks(
    blocks: Iterable[tuple[int, torch.Tensor]],
    which: torch.Tensor,
    targets: torch.Tensor,
    see: Callable[[int, torch.Tensor, torch.Tensor], None],
) -> tuple[list[float], list[bool]]:
    """Log-probability of each target at its place in nats, and whether it is the likeliest token there.

    Args:
        blocks: logits of shape (n, vocabulary) of all places in order, each with the number of its first place.
        which: for each target the number of its place.
        targets: tokens.
        see: called with each block's first place, its logits, and the targets that are in it.
    """
    chosen = torch.empty(len(targets), dtype=torch.float32, device=targets.device)
    likeliest = torch.empty_like(targets)
    for start, logits in blocks:
        here = ((which >= start) & (which < start + len(logits))).nonzero()[:, 0]
        at = which[here] - start
        # As lm-eval does it: torch's float32 log_softmax is 2e-5 nats off on a large vocabulary, always one way.
        chosen[here] = torch.log_softmax(logits.float(), -1)[at, targets[here]]
        likeliest[here] = logits.argmax(-1)[at]
        see(start, logits, targets[here])
    return chosen.tolist(), (likeliest == targets).tolist()


def total(windows: Sequence[Scored]) -> Scored:
    """The score of a whole text from those of its windows."""
    return Scored(
        sum(window.loglikelihood for window in windows),
        all(window.is_greedy for window in windows),
        sum(window.tokens for window in windows),
    )
