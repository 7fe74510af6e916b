"""HQQ, half-quadratic quantization (Badri and Shaji, 2023) by Mobius Labs' ``hqq``: no calibration data.

Every linear layer of the decoder is quantized; embeddings and output head stay in FP16, as ``hqq`` leaves them. Through
the library's own layers: transformers 5.23 says of its HQQ integration that it is not available yet.

A group's grid has a scale and a zero point in FP16. In the artifact codes are packed as the library packs them: 8, 4, 2
and 1 bits without loss, ten codes of 3 bits to 32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

_HQQ = Method(
    "hqq",
    "HQQ",
    "hqq",
    (8, 4, 3, 2, 1),
    "hqq",
    "hqq",
    groups=(8, 16, 32, 64, 128, 256),
    group={8: 64, 4: 64, 3: 64, 2: 16, 1: 16},  # the library's default, and what its authors use below 3 bits
    keeps=True,
)
METHODS = (_HQQ,)
REGIMES = tuple(_HQQ.regime(bits) for bits in _HQQ.widths)

_PARTS = ("W_q", "scale", "zero")
"""What differs between layers; the rest of the library's state is the same for all and goes into the details."""


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize one layer after another in FP16, the library's default; it needs no calibration."""
    import torch

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import chosen, save

    dense = load_dense(model, torch.float16, "cpu")
    parts = {}
    with quiet(), torch.no_grad():
        for name, layer in chosen(dense, regime, _HQQ.groups).items():
            quantized = _linear(layer.weight.data, regime.bits, regime.options["group_size"])
            parts[name] = {"W_q": quantized.W_q.data, **{part: quantized.meta[part] for part in _PARTS[1:]}}
    save(dense, parts, {"bits": regime.bits, "group_size": regime.options["group_size"]}, model, into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """``HQQLinear`` with the backend that the library takes by default: it dequantizes and multiplies."""
    import torch
    from hqq.core.quantize import HQQLinear

    from pytest_qllm.regimes.layers import read

    stored = read(artifact)
    bits, group = stored.details["bits"], stored.details["group_size"]

    def layer(name: str, plain: nn.Linear, parts: dict[str, torch.Tensor]) -> nn.Module:
        blank = _linear(torch.zeros(8, group, dtype=torch.float16), bits, group)  # for the state that all layers share
        state = blank.state_dict() | parts
        state["shape"] = torch.tensor(plain.weight.shape)
        if plain.bias is not None:
            state["bias"] = plain.bias.data
        made = HQQLinear(None, None, compute_dtype=dtype, device=device, initialize=False)
        made.load_state_dict(state)
        return made  # type: ignore[no-any-return]

    with quiet():
        return stored.exact(dtype, device, layer)


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Codes less zero points, times scales, the codes unpacked here.

    All in ``dtype``, in which the library's layers keep zero points and scales and multiply: in bfloat16 a zero point
    has 8 bits of the 11 that it was made with, which moves all weights of its group.
    """
    from pytest_qllm.regimes.layers import read

    stored = read(artifact)
    bits = stored.details["bits"]

    def effective(name: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        codes = _unpacked(parts["W_q"], bits)[: len(parts["scale"])].to(dtype)
        weights = (codes - parts["zero"].to(dtype)) * parts["scale"].to(dtype)
        return weights.reshape(stored.shapes[name])

    return stored.dense(dtype, device, effective)


def _linear(weight: torch.Tensor, bits: int, group_size: int) -> Any:
    """An ``HQQLinear`` with the library's settings for that width."""
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    plain = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    plain.weight = torch.nn.Parameter(weight, requires_grad=False)
    config = BaseQuantizeConfig(nbits=bits, group_size=group_size)
    return HQQLinear(plain, config, compute_dtype=torch.float16, device="cpu")


def _unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The codes, shape (groups and padding, group size): the library cuts the rows into parts of equal length and puts
    the first one's codes into the highest bits."""
    import torch

    width = 30 if bits == 3 else 8
    shifts = range(width - bits, -1, -bits)
    return torch.cat([packed >> shift & (2**bits - 1) for shift in shifts])
