"""SmoothQuant (Xiao et al., 2023, arXiv 2211.10438): outliers of activations moved into the weights, without a loss.

The channels of what a norm gives to its linear layers are divided by factors, which go into the norm's own weights,
and the layers' columns are multiplied by them: ``s_j = max|X_j|**alpha / max|W_j|**(1 - alpha)`` (equation 4). The
model computes the same; its activations are easier to quantize. Layers behind no norm (``o_proj``, ``down_proj``) stay
as they are, as in the paper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NORMS = (
    ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
)
"""Which layers a norm feeds, in decoders that are built as Llama's; the check below tells where that is not so."""

_UNCHANGED = 1e-3
"""Largest change of a logit, in units of the largest one, that rounding in float32 explains."""

_SMALLEST = 1e-5


@torch.no_grad()
def smooth(model: PreTrainedModel, batches: list[torch.Tensor], alpha: float) -> None:
    """Transform a float32 model in place.

    Args:
        model: built as Llama.
        batches: token ids to take the activations' ranges from, each of shape (rows, tokens).
        alpha: how much of the difficulty moves into the weights; 0.5 shares it.

    Raises:
        QllmError: if the model is built otherwise, so that this would change what it computes.
    """
    groups = list(_groups(model))
    if not groups:
        raise QllmError(
            f"SmoothQuant is not known for {type(model).__name__}: it has no input_layernorm before q_proj, k_proj, "
            "v_proj"
        )
    ranges: dict[nn.Module, torch.Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        largest = inputs[0].abs().flatten(0, -2).amax(0)
        ranges[layer] = torch.maximum(ranges[layer], largest) if layer in ranges else largest

    hooks = [layers[0].register_forward_pre_hook(note) for _, layers in groups]
    logits = [model(input_ids=batch, use_cache=False).logits for batch in batches]
    for hook in hooks:
        hook.remove()
    for norm, layers in groups:
        weights = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0).clamp_min(_SMALLEST)
        factors = (ranges[layers[0]].pow(alpha) / weights.pow(1 - alpha)).clamp_min(_SMALLEST)
        norm.weight.data /= factors
        if getattr(norm, "bias", None) is not None:
            norm.bias.data /= factors
        for layer in layers:
            layer.weight.data *= factors
    after = model(input_ids=batches[0], use_cache=False).logits
    change = float((after - logits[0]).abs().max() / logits[0].abs().max())
    if not change <= _UNCHANGED:
        raise QllmError(
            f"SmoothQuant changes what {type(model).__name__} computes (a logit by {change:.2g} of the largest): its "
            "norms are built otherwise than Llama's"
        )


def _groups(model: nn.Module) -> Iterator[tuple[Any, list[nn.Linear]]]:
    """Each norm with the layers that it feeds."""
    for block in model.modules():
        modules = dict(block.named_modules())
        for norm, names in _NORMS:
            if norm in dict(block.named_children()) and all(name in modules for name in names):
                layers = [modules[name] for name in names]
                yield modules[norm], [layer for layer in layers if isinstance(layer, nn.Linear)]
