"""Put an item's context and its choices into one row, so that the shared context is computed once.

A row is the tokens that all of an item's requests begin with, followed by what is left of each request. Every token
sees the shared part and its own branch only, and position ids count along the branch: the arithmetic for each request
is that of a row of its own. What the items of a benchmark share among them (a few-shot prefix) stands before the row
and is not part of it.
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

    prefix: tuple[int, ...]
    tokens: tuple[int, ...]
    positions: tuple[int, ...]
    shared: int
    branches: tuple[tuple[int, int], ...]
    scored: tuple[tuple[int, ...], ...]
    targets: tuple[tuple[int, ...], ...]


def pack(requests: Sequence[Encoded], prefix: tuple[int, ...] = ()) -> Row:
    """One row for the requests of one item; ``prefix`` are tokens that all of them begin with and that stay outside.

    Raises:
        ValueError: if a request does not begin with the prefix, or a token of the prefix is needed to score one.
    """
    skipped = len(prefix)
    for request in requests:
        if request.inputs[:skipped] != prefix or len(request.inputs) - len(request.targets) < skipped:
            raise ValueError(f"a request does not begin with the prefix of {skipped} tokens, unscored")
    shared = _shared_length([request.inputs for request in requests]) - skipped
    tokens = list(requests[0].inputs[skipped : skipped + shared])
    positions = list(range(skipped, skipped + shared))
    branches, scored = [], []
    for request in requests:
        start = len(tokens)
        tokens += request.inputs[skipped + shared :]
        positions += range(skipped + shared, len(request.inputs))
        branches.append((start, len(tokens)))
        places = range(len(request.inputs) - len(request.targets) - skipped, len(request.inputs) - skipped)
        scored.append(tuple(at if at < shared else start + at - shared for at in places))
    return Row(
        prefix,
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


def padded_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
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


def leading(lengths: Sequence[int], budget: int) -> int:
    """How many of the first rows, which are laid end to end without padding, fit the budget; at least one."""
    used = 0
    for count, length in enumerate(lengths):
        used += length
        if count and used > budget:
            return count
    return len(lengths)


def tree_mask(row: Row, dtype: torch.dtype, device: str | torch.device) -> torch.Tensor | None:
    """Additive attention mask of a row over its prefix and itself, shape (length, prefix + length).

    None where plain causality says the same: no prefix, and at most one branch with tokens.
    """
    if not row.prefix and sum(stop > start for start, stop in row.branches) <= 1:
        return None
    length = len(row.tokens)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    visible = torch.zeros(length, length, dtype=torch.bool)
    visible[:, : row.shared] = causal[:, : row.shared]
    for start, stop in row.branches:
        visible[start:stop, start:stop] = causal[: stop - start, : stop - start]
    visible = torch.cat([torch.ones(length, len(row.prefix), dtype=torch.bool), visible], dim=1)
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, torch.finfo(dtype).min).to(device)
