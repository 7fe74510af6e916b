"""What a quantized model weighs, from the tensors that its library saved. Free of torch, but for ``matrices``."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VERSION = 2
"""Part of the store's key."""

NAME = "size.json"
"""Where a backend that saves no quantized tensors (a simulated one) leaves its own account."""

LAYERS = "layers.json"
"""Where it leaves the same by layer, with the share of outliers."""

POINTER = "checkpoint.json"
"""Says where a checkpoint is that is no artifact of ours."""

_BITS = {"BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "U8": 8, "I8": 8, "F64": 64, "F32": 32, "F16": 16, "BF16": 16}
_BITS |= {"U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F8_E8M0": 8, "F4": 4}


@dataclass(frozen=True)
class Size:
    """Of a quantized model on disk.

    Attributes:
        bits_per_weight: mean over the matrices of its layers, with scales, zero points, outliers, and the matrices that
            were left in FP16; embeddings and output head are no layers.
        model_bits_per_weight: mean over everything, embeddings, head and norms too.
        bytes: of all tensors.
        outlier_share: of the quantized weights, those that are kept in FP16; None where there are none, or the artifact
            does not tell.
    """

    bits_per_weight: float
    model_bits_per_weight: float
    bytes: int
    outlier_share: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def of_artifact(artifact: Path, weights: Mapping[str, int], parameters: int) -> Size | None:
    """The size of what a backend saved: its own account, or that of its safetensors.

    None where these do not tell: a matrix has no tensor of its name, or all are plain ones of 16 bits or more, as a
    backend saves them that only simulates quantization.

    Args:
        artifact: directory with ``size.json``, or with safetensors (here, or in ``checkpoint/``).
        weights: how many weights each matrix of the FP16 model's layers has, by the name of its module.
        parameters: of the whole FP16 model.
    """
    if (artifact / NAME).is_file():
        return Size(**json.loads((artifact / NAME).read_text()), outlier_share=_outlier_share(artifact))
    bits, everything = stored(artifact, weights)
    if not all(bits.values()) or all(bits[name] >= 16 * count for name, count in weights.items()):
        return None
    return Size(sum(bits.values()) / sum(weights.values()), everything / parameters, everything // 8)


def _outlier_share(artifact: Path) -> float | None:
    file = artifact / LAYERS
    return json.loads(file.read_text())["outlier_share"] or None if file.is_file() else None


def stored(artifact: Path, names: Iterable[str]) -> tuple[dict[str, int], int]:
    """Bits of each module's tensors in an artifact, biases left out and 0 where it has none, and of all tensors."""
    folder = folder_of(artifact)
    bits = dict.fromkeys(names, 0)
    everything = 0
    for file in sorted(folder.glob("*.safetensors")):
        for name, size in _tensors(file):
            everything += size
            module, _, kind = name.rpartition(".")
            while module and module not in bits:
                module = module.rpartition(".")[0]
            if module and kind != "bias":
                bits[module] += size
    return bits, everything


def folder_of(artifact: Path) -> Path:
    """Where the quantized weights of an artifact are: itself, a part of it, or what it points to (a file, perhaps)."""
    if (artifact / POINTER).is_file():
        return Path(json.loads((artifact / POINTER).read_text())["path"])
    return artifact / "checkpoint" if (artifact / "checkpoint").is_dir() else artifact


def matrices(model: Path) -> tuple[dict[str, int], int]:
    """As ``counted``, of a checkpoint; the model is built without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    from pytest_qllm.models.loader import load_config

    with torch.device("meta"):
        return counted(AutoModelForCausalLM.from_config(load_config(model)))


def counted(model: PreTrainedModel) -> tuple[dict[str, int], int]:
    """Weights of each matrix in a model's layers by its module's name, and of the whole model.

    What is an embedding or an output head is the model's own word.
    """
    outer = {id(one.weight) for one in (model.get_input_embeddings(), model.get_output_embeddings()) if one is not None}
    found = {
        name.removesuffix(".weight"): parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and id(parameter) not in outer
    }
    return found, sum(parameter.numel() for parameter in model.parameters())


def at_sixteen_bits(files: Iterable[Path]) -> int:
    """Bytes of safetensors files, less what their tensors take above 16 bits a number: the FP16 model's, on disk."""
    return sum(
        file.stat().st_size - sum(max(0, width - 16) * count for _, width, count in _entries(file)) // 8
        for file in files
    )


def _tensors(file: Path) -> Iterator[tuple[str, int]]:
    """Name and bits of each tensor of a safetensors file, from its header."""
    for name, width, count in _entries(file):
        yield name, width * count


def _entries(file: Path) -> Iterator[tuple[str, int, int]]:
    """Name, bits of a number and numbers of each tensor."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, Any] = json.loads(stream.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, _BITS[tensor["dtype"]], prod(tensor["shape"])
