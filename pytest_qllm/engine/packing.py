"""Put an item's context and its choices into one row, so that the shared context is computed once.

A row is the tokens that all of an item's requests begin with, followed by what is left of each request. A mask lets
every token see the shared part and its own branch only, and position ids count along the branch: the arithmetic for
each request is that of a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Encoded:
    """A request in tokens: what goes into the model, and the tokens to score.

    The last ``len(targets)`` positions of ``inputs`` predict ``targets``.
    """

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """Tokens of one row with their positions; ``branches`` are (start, stop) of each branch after the shared part.

    ``scored[i]`` are the places in the row whose outputs predict the targets of request i.
    """

    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    shared: int
    branches: tuple[tuple[int, int], ...]
    scored: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]


def pack(requests: Sequence[Encoded]) -> Row:
    """One row for the requests of one item."""
    shared = _shared_length([request.inputs for request in requests])
    tokens = list(requests[0].inputs[:shared])
    positions = list(range(shared))
    branches, scored = [], []
    for request in requests:
        start = len(tokens)
        tokens += request.inputs[shared:]
        positions += range(shared, len(request.inputs))
        branches.append((start, len(tokens)))
        first = len(request.inputs) - len(request.targets)
        scored.append(tuple(at if at < shared else start + at - shared for at in range(first, len(request.inputs))))
    return Row(
        tuple(tokens),
        tuple(positions),
        shared,
        tuple(branches),
        tuple(scored),
        tuple(request.targets for request in requests),
    )


def _shared_length(sequences: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all sequences begin with; the least and the greatest in lexical order tell."""
    least, greatest = min(sequences), max(sequences)
    pairs = zip(least, greatest, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(least), len(greatest)))


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, longest first, of at most ``budget`` padded tokens each.

    A row that is longer than the budget makes a batch of its own. The result depends on the lengths only.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def tree_mask(rows: Sequence[Row], dtype: torch.dtype, device: str) -> torch.Tensor:
    """Additive attention mask, shape (rows, 1, length, length); padding sees itself only."""
    length = max(len(row.tokens) for row in rows)
    visible = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    for at, row in enumerate(rows):
        visible[at, : row.shared, : row.shared] = causal[: row.shared, : row.shared]
        for start, stop in row.branches:
            visible[at, start:stop, : row.shared] = True
            visible[at, start:stop, start:stop] = causal[: stop - start, : stop - start]
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min)
    return mask[:, None].to(device)
