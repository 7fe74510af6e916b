"""The least time that a work can take by arithmetic: its distinct tokens through the weights at the measured rate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS = 1024
_REPEATS = 20


@dataclass(frozen=True)
class Request:
    """A request in tokens: what goes into the model, and how many of its last positions are scored or sampled from."""

    inputs: tuple[int, ...]
    scored: int


@dataclass(frozen=True)
class Tokens:
    """Tokens of a work: of all requests together; without repeated prefixes; and those whose outputs are needed."""

    total: int
    distinct: int
    scored: int


def count(requests: Sequence[Request]) -> Tokens:
    """Count by the prefix tree of all requests; a node is a token after what comes before it."""
    distinct = 0
    scored: set[int] = set()
    before: tuple[int, ...] = ()
    for request in sorted(set(requests), key=lambda one: one.inputs):  # neighbours share the longest prefixes
        distinct += len(request.inputs) - _shared(before, request.inputs)
        first = len(request.inputs) - request.scored
        scored.update(hash(request.inputs[: at + 1]) for at in range(first, len(request.inputs)))
        before = request.inputs
    return Tokens(sum(len(request.inputs) for request in requests), distinct, len(scored))


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def operations(model: PreTrainedModel, tokens: Tokens) -> float:
    """2 x parameters x distinct tokens: those of the body for each token, of the output head where it is needed.

    The input embedding multiplies nothing, and attention's own products are not counted.
    """
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    body = sum(weight.numel() for weight in model.parameters() if weight is not embedding and weight is not head)
    return 2.0 * float(body * tokens.distinct + head.numel() * tokens.scored)


@torch.inference_mode()
def matmul_rate(model: PreTrainedModel) -> float:
    """Operations per second of 1024 rows through the largest weight of the body; the best of several."""
    apart = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    matrices = [weight for weight in model.parameters() if weight.dim() == 2 and id(weight) not in apart]
    weight = max(matrices, key=lambda one: one.numel())
    rows = torch.randn(_ROWS, weight.shape[1]).to(weight.dtype)
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        torch.nn.functional.linear(rows, weight)
        best = min(best, time.perf_counter() - start)
    return 2.0 * float(_ROWS * weight.numel()) / best
