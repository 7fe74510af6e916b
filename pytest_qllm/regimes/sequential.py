"""Quantize the linear layers of a decoder with calibration: block by block, each on inputs from the quantized ones.

All linear layers of a block see the inputs that the blocks before it, quantized, and its own unquantized layers give
(Frantar et al., 2022, arXiv 2210.17323, section 4). Memory: the model in float32, the hidden states of all calibration
tokens, and the Hessians of one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pytest_qllm.errors import QllmError

Quantize = Callable[[str, torch.Tensor, torch.Tensor], torch.Tensor]
"""From a layer's name, its weights and its Hessian ``X^T X / tokens`` to its effective weights."""


def blocks(model: Any) -> list[tuple[str, nn.Module]]:
    """The decoder's blocks with their names, in order.

    Raises:
        QllmError: if the model has no list of as many blocks as its configuration says.
    """
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return [(f"{name}.{at}", block) for at, block in enumerate(module)]
    raise QllmError(f"{type(model).__name__} has no list of {count} blocks: it cannot be quantized here")


def linears(model: Any) -> dict[str, nn.Linear]:
    """The linear layers of the decoder's blocks by name; the output head is none of them.

    Raises:
        QllmError: if there is none.
    """
    found = {
        f"{block}.{name}": module
        for block, inside in blocks(model)
        for name, module in inside.named_modules()
        if isinstance(module, nn.Linear)
    }
    if not found:
        raise QllmError(f"the blocks of {type(model).__name__} have no linear layers: it cannot be quantized here")
    return found


@torch.no_grad()
def quantize(model: Any, rows: Sequence[Sequence[int]], chosen: Mapping[str, nn.Linear], by: Quantize) -> None:
    """Put effective weights into the chosen layers.

    Args:
        model: in float32 and evaluation mode.
        rows: calibration tokens, all of one length.
        chosen: some of ``linears(model)``.
        by: makes the weights of a layer.
    """
    hidden, arguments = _inputs(model, rows)
    for (name, block), (rest, named) in zip(blocks(model), arguments, strict=True):
        inside = {full: layer for full, layer in chosen.items() if full.startswith(name + ".")}
        with _hessians(inside) as hessians:
            for states in hidden:
                block(states, *rest, **named)
        tokens = sum(states.shape[0] * states.shape[1] for states in hidden)
        for full, layer in inside.items():
            layer.weight.copy_(by(full, layer.weight, hessians.pop(full) / tokens))
        hidden = [_states(block(states, *rest, **named)) for states in hidden]


class _ReachedError(Exception):
    """The first block was called: its inputs are known, and the others need not run."""


def _inputs(model: Any, rows: Sequence[Sequence[int]]) -> tuple[list[torch.Tensor], list[tuple[Any, Any]]]:
    """What the first block gets for each row, and what each block gets beside its hidden states.

    That (positions, masks) is the same for all rows, as they have one length and no padding; it can differ between
    blocks, as where only some have a sliding window.
    """
    all_blocks = [block for _, block in blocks(model)]
    hidden: list[torch.Tensor] = []
    arguments: list[tuple[Any, Any]] = []

    def first(module: nn.Module, positional: Any, named: Any) -> None:
        hidden.append(positional[0])
        if arguments:
            raise _ReachedError

    def beside(module: nn.Module, positional: Any, named: Any) -> None:
        arguments.append((positional[1:], named))

    hooks = [all_blocks[0].register_forward_pre_hook(first, with_kwargs=True)]
    hooks += [block.register_forward_pre_hook(beside, with_kwargs=True) for block in all_blocks]
    try:
        for row in rows:
            try:
                model.base_model(torch.tensor([list(row)]), use_cache=False)
            except _ReachedError:
                continue
    finally:
        for hook in hooks:
            hook.remove()
    return hidden, arguments


@contextmanager
def _hessians(layers: Mapping[str, nn.Linear]) -> Iterator[dict[str, torch.Tensor]]:
    """Sums ``x x^T`` over all inputs of each layer; layers that share an input share the product."""
    sums: dict[str, torch.Tensor] = {}
    last: list[Any] = [None, None]  # the input is held, so that no other tensor can be it

    def hook(name: str) -> Callable[[nn.Module, Any], None]:
        def add(module: nn.Module, positional: Any) -> None:
            if positional[0] is not last[0]:
                flat = positional[0].reshape(-1, positional[0].shape[-1]).float()
                last[:] = positional[0], flat.T @ flat
            sums[name] = sums[name] + last[1] if name in sums else last[1]

        return add

    for name, layer in layers.items():
        sums[name] = torch.zeros(layer.in_features, layer.in_features)
    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield sums
    finally:
        for one in hooks:
            one.remove()


def _states(output: Any) -> torch.Tensor:
    """A block gives its hidden states alone, or first."""
    states: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return states
