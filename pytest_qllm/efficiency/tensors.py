"""Bytes that the tensors of a loaded model take, whatever its library hides them in."""

from __future__ import annotations

from typing import Any

import torch

_LEAVES = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, type)


def held(model: torch.nn.Module) -> int:
    """Bytes of all storages that a model's modules hold, each once.

    Parameters and buffers, and what libraries keep beside them: scales in an object at the parameter (bitsandbytes), in
    a dictionary of the layer (HQQ), inside a tensor of a kind of their own (torchao, quanto). Of no library's own
    account, so that all are counted alike.
    """
    storages: dict[int, int] = {}
    seen: set[int] = set()
    todo: list[Any] = [
        value for module in model.modules() for value in vars(module).values() if not isinstance(value, torch.nn.Module)
    ]
    while todo:
        one = todo.pop()
        if isinstance(one, _LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            todo += _inside(one, storages)
        elif isinstance(one, dict):
            todo += one.values()
        elif isinstance(one, list | tuple | set):
            todo += one
        elif not isinstance(one, torch.nn.Module) and not callable(one) and hasattr(one, "__dict__"):
            todo += vars(one).values()
    return sum(storages.values())


def _inside(tensor: torch.Tensor, storages: dict[int, int]) -> list[Any]:
    """Count a tensor, or name the tensors that it is made of."""
    found: list[Any] = list(vars(tensor).values()) if hasattr(tensor, "__dict__") else []
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        return found + [getattr(tensor, name) for name in names]
    if tensor.device.type != "meta":
        storage = tensor.untyped_storage()
        if storage.nbytes():
            storages[storage.data_ptr()] = storage.nbytes()
    return found
