"""Checkpoints of compressed-tensors, the format of llm-compressor and vLLM: W8A8, W4A16, FP8 with dynamic activations.

Made with ``compressed-tensors`` alone, since llm-compressor needs an environment of its own (transformers below 5.18):
the library's own range-to-scale rule and rounding, applied to the largest and smallest weight of each group or channel
(round to nearest), and its own compressor. SmoothQuant is a transformation before that (``smoothquant.py``).

Every linear layer of the decoder is quantized; embeddings and output head stay in FP16, as in llm-compressor's recipes.
Grids are symmetric: transformers 5.23 cannot load the zero points that
compressed-tensors 0.20 packs.

Simulated: on loading the library makes plain matrices of the weights and rounds activations in the compute dtype; the
integer kernels for these checkpoints are vLLM's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def _method(prefix: str, name: str, widths: tuple[int, ...], **fields: Any) -> Method:
    library = "compressed_tensors"
    return Method(prefix, name, library, widths, library, "compressed-tensors", simulated=True, keeps=True, **fields)


_WEIGHTS = _method(
    "ct",
    "compressed-tensors WnA16",
    (8, 7, 6, 5, 4, 3, 2),
    groups=(16, 32, 64, 128, 256),
    group=64,  # as gptq's: 128 does not divide the default model's width
)
_W8A8 = _method("ct-w8a8", "compressed-tensors W8A8", (8,), weight_only=False)
_SMOOTHQUANT = _method(
    "ct-smoothquant",
    "SmoothQuant W8A8",
    (8,),
    weight_only=False,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
    options={"alpha": 0.5},
)
_FP8 = _method("ct-fp8", "compressed-tensors FP8 dynamic", (8,), weight_only=False)
METHODS = (_WEIGHTS, _W8A8, _SMOOTHQUANT, _FP8)
REGIMES = (
    _WEIGHTS.regime(8, name="ct-w8a16"),
    _WEIGHTS.regime(4, name="ct-w4a16"),
    _W8A8.regime(8, name="ct-w8a8"),
    _SMOOTHQUANT.regime(8, name="ct-smoothquant-w8a8"),
    _FP8.regime(8, name="ct-fp8-dynamic"),
)

_BATCH = 4


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize in FP16, the checkpoint's dtype, and save in the library's format."""
    import torch
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from transformers import AutoTokenizer

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import chosen

    smoothing = "alpha" in regime.options
    dense = load_dense(model, torch.float32 if smoothing else torch.float16, "cpu")
    layers = chosen(dense, regime, _WEIGHTS.groups)
    if smoothing:
        _smooth(dense, regime, model, calibration, seed)
        dense = dense.half()
    plain = [
        name for name, module in dense.named_modules() if isinstance(module, torch.nn.Linear) and name not in layers
    ]
    scheme = _scheme(regime)
    with _silent(), torch.no_grad():
        config = QuantizationConfig(config_groups={"group_0": scheme}, ignore=plain)
        apply_quantization_config(dense, config, show_progress=False)
        for layer in layers.values():
            _set_scales(layer, scheme.weights)
        compressor = ModelCompressor.from_pretrained_model(dense)
        compressor.compress_model(dense)
        dense.save_pretrained(into)
        compressor.update_config(str(into))
        AutoTokenizer.from_pretrained(model).save_pretrained(into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The checkpoint as transformers loads it, its weights decompressed at once instead of in the first pass."""
    from transformers import AutoModelForCausalLM

    from pytest_qllm.models.loader import check_finite

    with _silent():
        model = AutoModelForCausalLM.from_pretrained(artifact, dtype=dtype, use_safetensors=True)
        model.hf_quantizer.compressor.decompress_model(model)
    check_finite(model, artifact)
    return model.to(device).eval()


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Codes times scales, in float32, the codes unpacked here."""
    from safetensors.torch import load_file

    from pytest_qllm.regimes.layers import Stored

    plain = load_file(artifact / "model.safetensors")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key in [key for key in plain if key.endswith(".weight_packed")]:
        name = key.removesuffix(".weight_packed")
        found = [one for one in plain if one.startswith(f"{name}.weight")]
        parts[name] = {one.removeprefix(f"{name}."): plain.pop(one) for one in found}
    shapes = {name: tuple(part["weight_shape"].tolist()) for name, part in parts.items()}
    bits = _stored_bits(artifact)

    def effective(name: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        rows, columns = shapes[name]
        scale = parts["weight_scale"].float()
        codes = _codes(parts["weight_packed"], bits, columns).reshape(rows, scale.shape[1], -1)
        return (codes * scale[..., None]).reshape(rows, columns)

    return Stored(artifact, parts, shapes, plain, {}).dense(dtype, device, effective)


def _scheme(regime: Regime) -> Any:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, preset_name_to_scheme

    if regime.weight_only:
        weights = QuantizationArgs(
            num_bits=regime.bits,
            type="int",
            strategy="group",
            group_size=regime.options["group_size"],
            symmetric=True,
        )
        return QuantizationScheme(targets=["Linear"], weights=weights)
    preset = "FP8_DYNAMIC" if regime.method == _FP8.name else "W8A8"
    return preset_name_to_scheme(preset, ["Linear"])


def _set_scales(layer: nn.Linear, arguments: Any) -> None:
    """Scales and zero points by the library's rule, from the ranges of the groups, or of the channels."""
    from compressed_tensors.quantization.utils import calculate_qparams

    size = arguments.group_size or layer.in_features
    groups = layer.weight.float().reshape(layer.out_features, -1, size)
    scales, zeros = calculate_qparams(groups.amin(-1), groups.amax(-1), arguments)
    layer.weight_scale.data = scales.to(layer.weight_scale.dtype)
    layer.weight_zero_point.data = zeros.to(layer.weight_zero_point.dtype)


def _smooth(model: PreTrainedModel, regime: Regime, source: Path, texts: Sequence[str], seed: int) -> None:
    import torch

    from pytest_qllm.models.loader import load_tokenizer
    from pytest_qllm.regimes.calibration import token_rows
    from pytest_qllm.regimes.smoothquant import smooth

    options = regime.options["calibration"]
    rows = torch.tensor(token_rows(load_tokenizer(source), texts, options["rows"], options["tokens"], seed))
    smooth(model, list(torch.split(rows, _BATCH)), regime.options["alpha"])


def _stored_bits(artifact: Path) -> int:
    import json

    config = json.loads((artifact / "config.json").read_text())["quantization_config"]
    return int(config["config_groups"]["group_0"]["weights"]["num_bits"])


def _codes(packed: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """Signed codes, shape (rows, columns), float32: of each row one string of bits in words of 32, upwards from
    -2**(bits - 1)."""
    import torch

    from pytest_qllm.regimes.layers import unpack

    octets = packed.contiguous().view(torch.uint8)  # little-endian, as every machine that torch runs on
    codes: torch.Tensor = unpack(octets, bits, columns).float().sub_(2 ** (bits - 1))
    return codes


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Its progress bars know no switch."""
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        yield
