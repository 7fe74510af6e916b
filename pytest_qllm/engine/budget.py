"""How much goes through a model at once, from what the machine has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST = {"cpu": 1024, "cuda": 16384}
"""Tokens beyond which a larger product is no faster: on a CPU activations leave its caches."""


@dataclass
class Budget:
    """Bounds of the engine's memory, beside the weights.

    Attributes:
        tokens: tokens of one forward pass.
        kept_bytes: memory for kept keys and values: prefixes, and generations in progress.
        slots: generations that go on at once, if there is memory for them; at their end a small model's products are
            at their rate.
    """

    tokens: int
    kept_bytes: int
    slots: int = 64

    def shrink(self) -> None:
        self.tokens = max(1, self.tokens // 2)
        self.kept_bytes //= 2


def budget_for(model: PreTrainedModel) -> Budget:
    """A sixteenth of the machine's memory for the activations of a pass, an eighth for keys and values.

    It depends on how much memory there is, not on how much is free, and is a power of two: scores of a regime that
    quantizes activations depend on what else is in the batch, and have to be the same on every run.
    """
    device = next(model.parameters()).device
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
    else:
        memory = psutil.virtual_memory().total
    config = model.config.get_text_config()
    width, inner = config.hidden_size, getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    inner = max(inner) if isinstance(inner, list | tuple) else inner  # a width for each layer
    each = (8 * width + 4 * inner) * next(model.parameters()).element_size()  # activations alive at once, per token
    fitting = max(64, memory // 16 // each)
    return Budget(min(_MOST.get(device.type, 2048), 2 ** (fitting.bit_length() - 1)), memory // 8)
