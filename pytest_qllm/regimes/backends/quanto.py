"""Integer and FP8 weights, and int8 activations, by optimum-quanto.

Every linear layer of the decoder is quantized; embeddings and output head stay in FP16, as transformers' integration of
quanto leaves them. int8 and FP8 have one scale for each output channel; int4 and int2 have groups whose size the
library chooses: the largest of 128, 96, 64 and 32 that divides a layer's width, or else the whole width.

W8A8 has static activation scales, one for each layer, calibrated as the library does it, in float32.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.recognition import QUANTO_MAP
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import digest

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from pytest_qllm.regimes.layers import Stored


COMPILES = 180
"""Seconds after which a compilation that did not end was killed; it takes about 30."""

_LANES = 16
"""What ``torch._weight_int8pack_mm`` reads at once; it does not stop at the end of a row."""


def _method(prefix: str, name: str, widths: tuple[int, ...], **fields: Any) -> Method:
    return Method(prefix, name, "quanto", widths, "optimum.quanto", "quanto", keeps=True, **fields)


_INTEGER = _method("quanto", "quanto integers", (8, 4, 2))
_E4M3 = _method("quanto-fp8-e4m3", "quanto FP8 E4M3", (8,))
_E5M2 = _method("quanto-fp8-e5m2", "quanto FP8 E5M2", (8,))
_W8A8 = _method(
    "quanto-w8a8",
    "quanto W8A8",
    (8,),
    weight_only=False,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
)
METHODS = (_INTEGER, _E4M3, _E5M2, _W8A8)
REGIMES = (
    *(_INTEGER.regime(bits, name=f"quanto-int{bits}") for bits in _INTEGER.widths),
    *(method.regime(8, name=method.prefix) for method in (_E4M3, _E5M2, _W8A8)),
)

_BATCH = 4


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize, calibrate the activations if they are quantized, and save the state of the library's layers."""
    import torch
    from optimum.quanto import freeze, quantization_map, quantize

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import chosen, save

    # Activations are calibrated in float32: half precision is emulated on CPUs without it.
    dense = load_dense(model, torch.float16 if regime.weight_only else torch.float32, "cpu")
    names = list(chosen(dense, regime))
    activations = None if regime.weight_only else "qint8"
    with quiet(), torch.no_grad():
        quantize(dense, weights=_qtype(regime), activations=activations, include=names)
        if activations:
            _calibrate(dense, regime, model, calibration, seed)
        freeze(dense)
    state = dense.state_dict()
    unused = () if activations else ("input_scale", "output_scale")
    parts: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names}
    for key, tensor in state.items():
        name = next((name for name in _prefixes(key) if name in parts), None)
        part = key[len(name) + 1 :] if name else ""
        if name and part != "bias" and part not in unused:
            parts[name][part] = tensor
    details = {
        "map": {name: entry for name, entry in quantization_map(dense).items() if name in parts},
        "plain_outputs": [name for name in names if not _quantizes_output(dense.get_submodule(name))],
    }
    save(dense, parts, details, model, into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """``QLinear`` with the kernels that the library takes by default."""
    from pytest_qllm.regimes.layers import read

    return _exact(read(artifact), dtype, device)


def load_checkpoint(checkpoint: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """As ``load``, a checkpoint that the library itself saved: transformers reads none of those."""
    return _exact(_stored(checkpoint), dtype, device)


def _exact(stored: Stored, dtype: torch.dtype, device: str) -> PreTrainedModel:
    import torch
    from optimum.quanto import requantize

    if any(entry["weights"] in ("qint4", "qint2") for entry in stored.details["map"].values()):
        _load_unpacking()
    plain_outputs = set(stored.details["plain_outputs"])

    def layer(name: str, plain: nn.Linear, parts: dict[str, torch.Tensor]) -> nn.Module:
        packs = stored.details["map"][name]["weights"] == "qint8" and dtype == torch.bfloat16 and device == "cpu"
        if packs and plain.in_features % _LANES:
            raise QllmError(
                f"torch's int8 product for bfloat16 on a CPU crashes on the {plain.in_features} inputs of {name}: they "
                f"are no multiple of {_LANES}; compute in another dtype: --qllm-dtype=float32"
            )
        alone = torch.nn.Sequential(plain)
        state = {f"0.{part}": _cast(part, tensor, dtype) for part, tensor in parts.items()}
        if plain.bias is not None:
            state["0.bias"] = plain.bias.data
        requantize(alone, state, {"0": stored.details["map"][name]}, device=torch.device(device))
        made: Any = alone[0]
        if name in plain_outputs:
            made.disable_output_quantization()
        if hasattr(made.weight, "_group_size"):
            made.forward = functools.partial(_outside_inference_mode, made.forward)
        return made  # type: ignore[no-any-return]

    with quiet():
        return stored.exact(dtype, device, layer)


def _load_unpacking() -> None:
    """Load quanto's C++ unpacking of 4 and 2 bits, which torch compiles at its first use, one process at a time.

    torch keeps others out by a file that a killed process leaves behind, and for which all others then wait for ever:
    one that is older than any compilation is removed.
    """
    from filelock import FileLock
    from optimum.quanto.library.extensions import get_extension

    extension = get_extension("quanto_cpp")
    left = Path(extension.build_directory) / "lock"
    with FileLock(Path(tempfile.gettempdir()) / f"pytest-qllm-{digest(str(left))}.lock"):
        while left.exists() and time.time() - left.stat().st_mtime < COMPILES:
            time.sleep(1)
        left.unlink(missing_ok=True)
        assert extension.lib is not None


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Codes times scales, less shifts, the codes unpacked here.

    All in ``dtype``, in which the library's layers keep scales and shifts and multiply: in bfloat16 a shift has 8 bits
    of the 11 that it was made with, which moves all weights of its group.
    """
    from pytest_qllm.regimes.layers import read

    return _dense(read(artifact), dtype, device)


def dense_checkpoint(checkpoint: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """As ``dense``, of a checkpoint that the library itself saved."""
    return _dense(_stored(checkpoint), dtype, device)


def _stored(checkpoint: Path) -> Stored:
    """A checkpoint of ``QuantizedModelForCausalLM`` (optimum-quanto), whose map tells its quantized layers."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from pytest_qllm.regimes.layers import Stored

    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        tensors |= load_file(file)
    layers = json.loads((checkpoint / QUANTO_MAP).read_text())
    parts = {name: _parts(tensors, name, entry) for name, entry in layers.items()}
    with quiet(), torch.device("meta"):
        blank = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(checkpoint))
    shapes = {name: tuple(blank.get_submodule(name).weight.shape) for name in layers}
    return Stored(checkpoint, parts, shapes, tensors, {"map": layers, "plain_outputs": []})


def _parts(tensors: dict[str, torch.Tensor], name: str, entry: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """What a layer keeps of its own, taken out of ``tensors``; its bias, and scales that nothing uses, are not."""
    own = [key for key in tensors if key.startswith(f"{name}.") and not key.endswith(".bias")]
    found = {key[len(name) + 1 :]: tensors.pop(key) for key in own}
    unused = () if entry["activations"] != "none" else ("input_scale", "output_scale")
    return {part: tensor for part, tensor in found.items() if part not in unused}


def _dense(stored: Stored, dtype: torch.dtype, device: str) -> PreTrainedModel:
    import torch

    def effective(name: str, parts: dict[str, torch.Tensor]) -> torch.Tensor:
        scale = parts["weight._scale"].to(dtype)
        if "weight._data" in parts:
            return parts["weight._data"].to(dtype) * scale
        bits = {"qint4": 4, "qint2": 2}[stored.details["map"][name]["weights"]]
        # As many codes to a byte as there is room for, the first rows' in the lowest bits.
        packed = parts["weight._data._data"]
        codes = torch.cat([packed >> shift & (2**bits - 1) for shift in range(0, 8, bits)])[: len(scale)]
        return (codes.to(dtype) * scale - parts["weight._shift"].to(dtype)).reshape(stored.shapes[name])

    return stored.dense(dtype, device, effective)


def _qtype(regime: Regime) -> str:
    return {_E4M3.name: "qfloat8_e4m3fn", _E5M2.name: "qfloat8_e5m2"}.get(regime.method, f"qint{regime.bits}")


def _calibrate(model: PreTrainedModel, regime: Regime, source: Path, texts: Sequence[str], seed: int) -> None:
    import torch
    from optimum.quanto import Calibration

    from pytest_qllm.models.loader import load_tokenizer
    from pytest_qllm.regimes.calibration import token_rows

    options = regime.options["calibration"]
    rows = torch.tensor(token_rows(load_tokenizer(source), texts, options["rows"], options["tokens"], seed))
    with Calibration():
        for batch in torch.split(rows, _BATCH):
            model(input_ids=batch, use_cache=False)


def _quantizes_output(layer: Any) -> bool:
    """Whether its output hook is still there: calibration takes it away where nothing can use a quantized output."""
    handle = layer._quantize_hooks.get("output")
    return handle is not None and handle.id in layer._forward_hooks


def _prefixes(key: str) -> list[str]:
    """The modules that a tensor's name may belong to."""
    steps = key.split(".")
    return [".".join(steps[:at]) for at in range(1, len(steps))]


def _cast(part: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Scales and shifts in the dtype of the products; the codes, which may be FP8, as they are."""
    return tensor.to(dtype) if part.endswith(("scale", "shift")) else tensor


def _outside_inference_mode(forward: Any, values: torch.Tensor) -> torch.Tensor:
    """The library's int4 and int2 weights cannot be unpacked in inference mode, in which the engine runs."""
    import torch

    with torch.inference_mode(False), torch.no_grad():
        return forward(values.clone())  # type: ignore[no-any-return]
