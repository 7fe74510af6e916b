"""Attention over rows that lie end to end in one sequence, without padding, and over keys that are kept.

Registered with transformers' attention interface. Every other layer of a model works on single tokens, so that rows of
any length go through it as one long row; attention alone has to know where a row begins and what it sees. That it is
told by a keyword argument of the model's ``forward``, which the model hands on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from pytest_qllm.engine.packing import Row, tree_mask

NAME = "qllm"


class Layout(Protocol):
    """How the tokens of one forward pass attend."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, score: Scoring
    ) -> torch.Tensor:
        """Outputs of one layer, of the shape of ``query``, (heads, tokens, size); keys have heads of their own."""


@dataclass(frozen=True)
class Scoring:
    """How a query and a key make a score: ``scale`` times their product, with Gemma 2's soft cap where there is one."""

    scale: float
    softcap: float | None = None


@dataclass
class Kept:
    """Keys and values of each layer for a run of tokens, shape (kv heads, tokens, size) each."""

    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.keys, *self.values))


class Rows:
    """Rows laid end to end, each behind the kept keys and values of its prefix.

    Args:
        rows: in their order in the sequence.
        prefixes: the kept prefix of each row, or None for a row without one.
        keep: whether to keep the keys and values of all tokens, in ``kept``.
    """

    def __init__(self, rows: Sequence[Row], prefixes: Sequence[Kept | None], *, keep: bool = False) -> None:
        self.kept = Kept() if keep else None
        self._prefixes = prefixes
        self._rows = rows
        self._masks: list[torch.Tensor | None] = []
        self._lengths = [len(row.tokens) for row in rows]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, score: Scoring
    ) -> torch.Tensor:
        if self.kept is not None:
            _require_layer(self.kept, layer)
            self.kept.keys.append(key.contiguous())
            self.kept.values.append(value.contiguous())
        if not self._masks:  # the same for every layer, in the dtype that the model computes in
            self._masks = [tree_mask(row, query.dtype, query.device) for row in self._rows]
        parts = []
        rows = zip(
            torch.split(query, self._lengths, 1),
            torch.split(key, self._lengths, 1),
            torch.split(value, self._lengths, 1),
            self._prefixes,
            self._masks,
            strict=True,
        )
        for queries, keys, values, prefix, mask in rows:
            if prefix is not None:
                keys = torch.cat([prefix.keys[layer], keys], 1)
                values = torch.cat([prefix.values[layer], values], 1)
            parts.append(_attention(queries, keys, values, mask, score))
        return torch.cat(parts, 1)


class Slots:
    """One new token for each of several generations, which share a prefix and keep what they have made in slots.

    Args:
        prefix: kept keys and values of the shared prefix, or None.
        like: kept keys and values of any run of tokens, for the shapes.
        count: slots.
        length: tokens that a slot can hold.
    """

    def __init__(self, prefix: Kept | None, like: Kept, count: int, length: int) -> None:
        self.lengths: list[int] = []
        self._prefix = prefix
        shapes = [(count, keys.shape[0], length, keys.shape[2]) for keys in like.keys]
        values = [(count, values.shape[0], length, values.shape[2]) for values in like.values]
        self._keys = [like.keys[0].new_zeros(shape) for shape in shapes]
        self._values = [like.values[0].new_zeros(shape) for shape in values]

    def add(self, kept: Kept, start: int, stop: int) -> None:
        """Fill the next free slot with tokens ``start`` to ``stop`` of what was kept."""
        at = len(self.lengths)
        for layer, (keys, values) in enumerate(zip(kept.keys, kept.values, strict=True)):
            self._keys[layer][at, :, : stop - start] = keys[:, start:stop]
            self._values[layer][at, :, : stop - start] = values[:, start:stop]
            # What is masked weighs nothing, but nothing times NaN is NaN: none may be left of the slot's last user.
            self._keys[layer][at, :, stop - start :] = 0
            self._values[layer][at, :, stop - start :] = 0
        self.lengths.append(stop - start)

    def remove(self, at: int) -> None:
        """Free a slot; the last one takes its place."""
        last, length = len(self.lengths) - 1, self.lengths[-1]
        if at != last:
            for tensor in (*self._keys, *self._values):
                tensor[at, :, :length] = tensor[last, :, :length]
            self.lengths[at] = length
        self.lengths.pop()

    def begin_step(self) -> None:
        """Make room for one token in each slot; every layer of the forward pass that follows writes it there."""
        device = self._keys[0].device
        self._at = torch.tensor(self.lengths, device=device)
        self._rows = torch.arange(len(self.lengths), device=device)
        self.lengths = [length + 1 for length in self.lengths]
        self._span = max(self.lengths)
        hidden = torch.arange(self._span, device=device)[None, :] > self._at[:, None]
        lowest = torch.finfo(self._keys[0].dtype).min
        self._mask = torch.zeros(hidden.shape, device=device).masked_fill_(hidden, lowest)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, score: Scoring
    ) -> torch.Tensor:
        heads, count, size = query.shape
        groups = key.shape[0]
        self._keys[layer][self._rows, :, self._at] = key.transpose(0, 1)
        self._values[layer][self._rows, :, self._at] = value.transpose(0, 1)
        own_keys, own_values = (tensor[layer][:count, :, : self._span] for tensor in (self._keys, self._values))
        grouped = query.reshape(groups, heads // groups, count, size)
        by_slot = grouped.permute(2, 0, 1, 3)  # (slots, kv heads, queries of a kv head, size)
        scores = _capped(by_slot @ own_keys.transpose(-1, -2), score).float() + self._mask[:, None, None]
        if self._prefix is None:
            out = scores.softmax(-1).to(value.dtype) @ own_values
            return out.permute(1, 2, 0, 3).reshape(heads, count, -1)
        # The prefix is read once for all slots: their queries are the rows of one matrix product.
        keys, values = self._prefix.keys[layer], self._prefix.values[layer]
        shared = _capped(grouped.reshape(groups, -1, size) @ keys.transpose(-1, -2), score).float()
        width = shared.shape[-1]
        shared = shared.reshape(groups, heads // groups, count, width).permute(2, 0, 1, 3)
        weights = torch.cat([shared, scores], -1).softmax(-1).to(value.dtype)
        out = weights[..., width:] @ own_values
        of_prefix = weights[..., :width].permute(1, 2, 0, 3).reshape(groups, -1, width) @ values
        return out.permute(1, 2, 0, 3).reshape(heads, count, -1) + of_prefix.reshape(heads, count, -1)


def _attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, score: Scoring
) -> torch.Tensor:
    grouped = queries.shape[0] != keys.shape[0]
    if score.softcap is None:
        batch = (queries[None], keys[None], values[None])
        if mask is None:
            return scaled_dot_product_attention(*batch, is_causal=True, scale=score.scale, enable_gqa=grouped)[0]
        return scaled_dot_product_attention(*batch, mask[None, None], scale=score.scale, enable_gqa=grouped)[0]
    heads, length, size = queries.shape
    groups = keys.shape[0]
    products = queries.reshape(groups, -1, size) @ keys.transpose(-1, -2)
    scores = _capped(products, score).float().reshape(heads, length, -1)
    if mask is None:
        scores = scores.masked_fill(
            torch.ones(length, length, dtype=torch.bool, device=keys.device).triu(1), -torch.inf
        )
    else:
        scores = scores + mask
    weights = scores.softmax(-1).to(values.dtype).reshape(groups, -1, keys.shape[1])
    return (weights @ values).reshape(heads, length, -1)


def _capped(products: torch.Tensor, score: Scoring) -> torch.Tensor:
    products = products * score.scale
    return products if score.softcap is None else torch.tanh(products / score.softcap) * score.softcap


def _require_layer(kept: Kept, layer: int) -> None:
    if len(kept.keys) != layer:
        raise NotImplementedError("this model's layers do not each keep keys and values of their own, in order")


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    qllm: Layout | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface: (1, heads, tokens, size) in, (1, tokens, heads, size) out.

    Raises:
        NotImplementedError: if the model asks for what this attention does not do.
    """
    if qllm is None or attention_mask is not None:
        raise NotImplementedError("this model does not hand its keyword arguments on to its attention")
    for name in ("position_bias", "s_aux", "head_mask"):
        if others.get(name) is not None:
            raise NotImplementedError(f"this model's attention needs {name}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = qllm.attend(module.layer_idx, query[0], key[0], value[0], Scoring(scale, softcap))
    return out.transpose(0, 1)[None], None


def register() -> None:
    """Make the attention known to transformers under ``NAME``."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _attend)
