"""The linear layers that a regime quantizes, and artifacts that hold them in parts: safetensors and JSON, no pickle.

An artifact has ``config.json``, the tokenizer, and ``model.safetensors`` with what stays in FP16 under its own name and
the parts of each quantized layer as ``<module name>.<part>``. The file's metadata say how to put the parts together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pytest_qllm.errors import QllmError
from pytest_qllm.models.loader import check_finite
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE = "model.safetensors"
_KEY = "pytest_qllm"

Parts = Mapping[str, torch.Tensor]


def kept(regime: Regime, names: Sequence[str]) -> list[str]:
    """Those of the linear layers' names that ``keep`` matches.

    Raises:
        QllmError: for a pattern that matches none of them, or patterns that leave nothing to quantize.
    """
    patterns = regime.options.get("keep", [])
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            example = names[0] if names else "none"
            raise QllmError(f"{regime.name}: keep {pattern!r} matches no linear layer; they are called as {example}")
    found = [name for name in names if any(re.search(pattern, name) for pattern in patterns)]
    if names and len(found) == len(names):
        raise QllmError(f"{regime.name}: keep matches every linear layer: nothing is left to quantize")
    return found


def kept_of(regime: Regime, checkpoint: Path) -> list[str]:
    """As ``kept``, for a library that loads the checkpoint itself."""
    from transformers import AutoConfig, AutoModelForCausalLM

    if not regime.options.get("keep"):
        return []
    with quiet(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(checkpoint))
    return kept(regime, list(linears(model)))


def linears(model: PreTrainedModel) -> dict[str, nn.Linear]:
    """Every linear layer but the output embedding, by name."""
    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and module.weight is not getattr(head, "weight", None)
    }


def chosen(model: PreTrainedModel, regime: Regime, groups: Sequence[int] = ()) -> dict[str, nn.Linear]:
    """The layers that the regime quantizes, by name.

    Args:
        model: the FP16 model.
        regime: its ``keep`` names what stays as it is.
        groups: group sizes that the method has; each layer's inputs have to be a multiple of the regime's own.

    Raises:
        QllmError: if there is none, or the group size does not divide a layer's width.
    """
    layers = linears(model)
    if not layers:
        raise QllmError(f"{regime.name}: this {type(model).__name__} has no linear layer to quantize")
    kept_names = set(kept(regime, list(layers)))
    layers = {name: layer for name, layer in layers.items() if name not in kept_names}
    size = regime.options.get("group_size")
    if groups and size:
        for name, layer in layers.items():
            if layer.in_features % size:
                fit = [str(one) for one in groups if not any(other.in_features % one for other in layers.values())]
                raise QllmError(
                    f"{regime.name}: groups of {size} do not divide the {layer.in_features} inputs of {name}; "
                    f"group sizes that fit every layer: {', '.join(fit) or 'none'}"
                )
    return layers


def save(
    model: PreTrainedModel, parts: Mapping[str, Parts], details: Mapping[str, Any], source: Path, into: Path
) -> None:
    """Write an artifact.

    Args:
        model: the FP16 model; what is not in ``parts`` is saved as it is here.
        parts: of each quantized layer, by the layer's name.
        details: anything that JSON can hold.
        source: the FP16 checkpoint, for its tokenizer.
        into: an empty directory.
    """
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    tensors = {
        name: tensor.detach().to(torch.float16 if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if name.rpartition(".")[0] not in parts or name.endswith(".bias")
    }
    for tied in getattr(model, "all_tied_weights_keys", None) or {}:
        tensors.pop(tied, None)
    for name, layer in parts.items():
        for part, tensor in layer.items():
            # A copy: parts may share memory, which safetensors refuses.
            tensors[f"{name}.{part}"] = tensor.detach().clone().contiguous()
    with quiet():
        model.config.save_pretrained(into)
        AutoTokenizer.from_pretrained(source).save_pretrained(into)
    layers = {
        name: {"parts": list(layer), "shape": list(model.get_submodule(name).weight.shape)}
        for name, layer in parts.items()
    }
    content = {"layers": layers, "details": details}
    save_file(tensors, into / FILE, metadata={"format": "pt", _KEY: json.dumps(content)})


@dataclass(frozen=True)
class Stored:
    """An artifact as it was read.

    Attributes:
        source: its directory.
        parts: of each quantized layer, by the layer's name.
        shapes: of the layers, (out features, in features).
        plain: what stays in FP16.
        details: what the backend said when it was saved.
    """

    source: Path
    parts: dict[str, dict[str, torch.Tensor]]
    shapes: dict[str, tuple[int, int]]
    plain: dict[str, torch.Tensor]
    details: dict[str, Any]

    def dense(
        self, dtype: torch.dtype, device: str, effective: Callable[[str, dict[str, torch.Tensor]], torch.Tensor]
    ) -> PreTrainedModel:
        """A plain model in evaluation mode, each quantized layer with the weights that ``effective`` makes of it.

        Raises:
            QllmError: if a weight is missing or not finite.
        """
        weights = {f"{name}.weight": effective(name, parts).to(dtype) for name, parts in self.parts.items()}
        model = self._model(weights, dtype)
        check_finite(model, self.source)
        return model.to(device).eval()

    def exact(
        self,
        dtype: torch.dtype,
        device: str,
        layer: Callable[[str, nn.Linear, dict[str, torch.Tensor]], nn.Module],
    ) -> PreTrainedModel:
        """The model in evaluation mode with the library's layers: ``layer`` makes one of a plain one and its parts.

        The parts are copies: a tensor of a safetensors file lies at any address of the mapped file, and torch's int8
        product for bfloat16 on a CPU ends the process on weights that are not aligned.
        """
        model = self._model({}, dtype)
        check_finite(model, self.source)
        model.to(device).eval()
        with torch.no_grad():
            for name, parts in self.parts.items():
                made = layer(
                    name, model.get_submodule(name), {part: one.to(device, copy=True) for part, one in parts.items()}
                )
                model.set_submodule(name, made.eval())
        return model

    def _model(self, weights: Parts, dtype: torch.dtype) -> PreTrainedModel:
        """A plain model; the weights of quantized layers that are not given are zeros."""
        import transformers

        with quiet():
            config = transformers.AutoConfig.from_pretrained(self.source)
            if hasattr(config, "quantization_config"):
                del config.quantization_config  # the weights that it tells of come plain
            kind = getattr(transformers, config.architectures[0])
            blank = torch.zeros((), dtype=dtype)
            absent = {f"{name}.weight": blank.expand(shape) for name, shape in self.shapes.items()}
            model, loading = kind.from_pretrained(
                None,
                config=config,
                state_dict={**self.plain, **absent, **weights},
                dtype=dtype,
                output_loading_info=True,
            )
        missing = sorted(loading["missing_keys"])
        if missing:
            raise QllmError(f"{self.source} lacks the weights of {missing[0]} ({len(missing)} in all)")
        return model


def read(artifact: Path) -> Stored:
    """What ``save`` wrote.

    Raises:
        QllmError: if the file says nothing of its layers.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    parts: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(artifact / FILE, framework="pt") as file:
        content = (file.metadata() or {}).get(_KEY)
        if content is None:
            raise QllmError(f"{artifact / FILE} says nothing of its quantized layers")
    described = json.loads(content)
    plain = load_file(artifact / FILE)
    for name, layer in described["layers"].items():
        parts[name] = {part: plain.pop(f"{name}.{part}") for part in layer["parts"]}
    shapes = {name: (layer["shape"][0], layer["shape"][1]) for name, layer in described["layers"].items()}
    return Stored(artifact, parts, shapes, plain, described["details"])


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes below 2**bits, shape (rows, columns), as bytes, shape (rows, ceil(columns * bits / 8))."""
    each = np.unpackbits(codes.to("cpu", torch.uint8).numpy()[..., None], axis=-1, count=bits, bitorder="little")
    return torch.from_numpy(np.packbits(each.reshape(len(codes), -1), axis=-1, bitorder="little"))


def unpack(packed: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """What ``pack`` packed, shape (rows, columns), uint8."""
    each = np.unpackbits(packed.cpu().numpy(), axis=-1, count=columns * bits, bitorder="little")
    codes = np.packbits(each.reshape(len(packed), columns, bits), axis=-1, bitorder="little")[..., 0]
    return torch.from_numpy(codes).to(packed.device)
