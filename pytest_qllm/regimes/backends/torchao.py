"""torchao's integer and FP8 weights: one configuration of ``torchao.quantization`` for each regime.

Every linear layer of the decoder is quantized from the FP16 checkpoint; embeddings and output head stay in FP16, as
transformers' integration of torchao leaves them. The artifact has the parts of torchao's tensors (its safetensors
support, ``torchao.prototype.safetensors``), with codes of fewer than 8 bits packed: in memory torchao's ``Intx``
tensors keep a byte for each weight, because the kernels that read packed ones are not for CPUs of this kind.

int4 (a tinygemm or mslk kernel) and FP8 with quantized activations run on CUDA only.
"""

from __future__ import annotations

import json
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


_GROUPS = (16, 32, 64, 128, 256)


def _method(prefix: str, kind: str, widths: tuple[int, ...], *, backend: str = "torchao", **fields: Any) -> Method:
    return Method(prefix, f"torchao {kind}", backend, widths, "torchao", "torchao", keeps=True, **fields)


_INTX = _method(
    "torchao",
    "IntxWeightOnly",
    (8, 7, 6, 5, 4, 3, 2, 1),
    groups=_GROUPS,
    group=64,  # as gptq's: on the default model's own grid of 32 an asymmetric method would look lossless
    symmetric=True,
)
_WHOLE = (
    _method("torchao-int8", "Int8WeightOnly", (8,)),
    _method("torchao-int8-dynamic", "Int8DynamicActivationInt8Weight", (8,), weight_only=False),
    _method("torchao-fp8", "Float8WeightOnly", (8,)),
    _method("torchao-fp8-dynamic", "Float8DynamicActivationFloat8Weight", (8,), weight_only=False, device="cuda"),
    _method(
        "torchao-int4", "Int4WeightOnly", (4,), backend="torchao:Int4", groups=_GROUPS[1:], group=64, device="cuda"
    ),
)
METHODS = (_INTX, *_WHOLE)
REGIMES = (
    *(method.regime(method.widths[0], name=method.prefix) for method in _WHOLE),
    *(_INTX.regime(bits) for bits in (6, 5, 4, 3, 2)),
)


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize one layer after another in FP16, the checkpoint's dtype, and save their parts; nothing to calibrate."""
    import torch
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict
    from torchao.quantization import quantize_

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import chosen, save

    device = regime.device or "cpu"
    dense = load_dense(model, torch.float16, "cpu")
    parts, described = {}, {}
    with quiet(), torch.no_grad():
        for name, layer in chosen(dense, regime, _GROUPS).items():
            alone = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False, device="meta"))
            alone[0].weight = torch.nn.Parameter(layer.weight.to(device), requires_grad=False)
            quantize_(alone, _config(regime), device=None)
            flat, metadata = flatten_tensor_state_dict({"layer.weight": alone[0].weight.data})
            described[name] = json.loads(metadata["layer.weight"])
            parts[name] = {key.removeprefix("layer._weight_"): tensor.cpu() for key, tensor in flat.items()}
            _packed(parts[name], regime)
    save(dense, parts, {"bits": _packed_bits(regime), "tensors": described}, model, into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Plain linear layers whose weights are torchao's tensors, which bring the kernels."""
    import torch
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    from pytest_qllm.regimes.layers import read

    stored = read(artifact)

    def layer(name: str, plain: nn.Linear, parts: dict[str, torch.Tensor]) -> nn.Module:
        described = json.loads(json.dumps(stored.details["tensors"][name]))
        _unpacked(parts, plain.in_features, stored.details["bits"])
        described["_data"]["dtype"]["_data"] = str(dtype).removeprefix("torch.")
        if parts["scale"].dtype == torch.float16:  # in the dtype of the products, where it is not float32 in all
            parts["scale"] = parts["scale"].to(dtype)
        metadata = {"tensor_names": json.dumps(["layer.weight"]), "layer.weight": json.dumps(described)}
        flat = {f"layer._weight_{part}": tensor for part, tensor in parts.items()}
        weight = unflatten_tensor_state_dict(flat, metadata)[0]["layer.weight"]
        made = torch.nn.Linear(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        made.weight, made.bias = torch.nn.Parameter(weight, requires_grad=False), plain.bias
        return made

    with quiet():
        return stored.exact(dtype, device, layer)


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Codes less zero points, times scales, in float32: torchao's own dequantizer is part of its kernels."""
    from pytest_qllm.regimes.layers import read

    stored = read(artifact)

    def effective(name: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        block = stored.details["tensors"][name]["_data"]["block_size"][1]
        rows, columns = stored.shapes[name]
        _unpacked(parts, columns, stored.details["bits"])
        codes = parts["qdata"].float().reshape(rows, -1, block)
        if "zero_point" in parts:
            codes = codes - parts["zero_point"].float()[..., None]
        return (codes * parts["scale"].float()[..., None]).reshape(rows, columns)

    return stored.dense(dtype, device, effective)


class Int4:
    """The backend of int4: its codes are stored as its kernel wants them, which alone can tell what they stand for."""

    build = staticmethod(build)
    load = staticmethod(load)


def _config(regime: Regime) -> Any:
    """The library's configuration, which its method is named by."""
    import torch
    from torchao import quantization

    kind = getattr(quantization, f"{regime.method.removeprefix('torchao ')}Config")
    if not _is_intx(regime):
        return kind(group_size=regime.options["group_size"]) if "group_size" in regime.options else kind()
    mapping = quantization.MappingType
    return kind(
        weight_dtype=getattr(torch, f"int{regime.bits}"),
        granularity=quantization.PerGroup(regime.options["group_size"]),
        mapping_type=mapping.SYMMETRIC if regime.options["symmetric"] else mapping.ASYMMETRIC,
    )


def _is_intx(regime: Regime) -> bool:
    return regime.method == _INTX.name


def _packed_bits(regime: Regime) -> int:
    """Width of the codes in the artifact; 0 where they stand as the library has them."""
    return regime.bits if _is_intx(regime) else 0


def _packed(parts: dict[str, torch.Tensor], regime: Regime) -> None:
    """Pack the codes, from -2**(bits-1) upwards; a zero point that is zero everywhere is no part."""
    from pytest_qllm.regimes.layers import pack

    bits = _packed_bits(regime)
    if bits:
        parts["qdata"] = pack(parts["qdata"].short() + 2 ** (bits - 1), bits)
        if regime.options["symmetric"]:
            del parts["zero_point"]


def _unpacked(parts: dict[str, torch.Tensor], columns: int, bits: int) -> None:
    import torch

    from pytest_qllm.regimes.layers import unpack

    if bits:
        parts["qdata"] = (unpack(parts["qdata"], bits, columns).short() - 2 ** (bits - 1)).to(torch.int8)
        parts.setdefault(
            "zero_point", torch.zeros(parts["scale"].shape, dtype=torch.int8, device=parts["scale"].device)
        )
