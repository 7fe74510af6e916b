"""What a quantized checkpoint's own configuration says of its weights: method, width, groups. Free of torch.

Configurations are those that the libraries write: ``quantization_config`` in ``config.json`` (transformers, and all
that save through it), ``quantize_config.json`` (AutoGPTQ, older GPTQModel), and ``quanto_qmap.json`` (optimum-quanto).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError

Config = Mapping[str, Any]

QUANTO_MAP = "quanto_qmap.json"
"""What optimum-quanto saves beside a checkpoint of its own, whose weights are read back, too: of each quantized layer,
the types of weights and activations."""


@dataclass(frozen=True)
class Description:
    """What a checkpoint's configuration says of its weights.

    Attributes:
        method: the field's name for the algorithm.
        bits: nominal width of a weight.
        library, extra: as in ``Regime``: what loads it.
        weight_only: whether activations stay as they are.
        group_size: weights that share a scale; None for a whole row or more.
        symmetric: None where the configuration does not say.
        device: as in ``Regime``.
        unpacked: whether each code takes a byte on disk, whatever its width: then the file's size tells no width.
    """

    method: str
    bits: int
    library: str = ""
    extra: str = ""
    weight_only: bool = True
    group_size: int | None = None
    symmetric: bool | None = None
    device: str = ""
    unpacked: bool = False


def describe(config: Config, path: Path) -> Description:
    """What a configuration, or another file beside it, says.

    Raises:
        QllmError: if there is no word of a method, or of none that is known.
    """
    quantization = config.get("quantization_config")
    if quantization is None and (path / "quantize_config.json").is_file():
        quantization = {"quant_method": "gptq", **read_object(path / "quantize_config.json", str(path))}
    if quantization is None and (path / QUANTO_MAP).is_file():
        return _of_quanto_map(read_object(path / QUANTO_MAP, str(path)))
    if not isinstance(quantization, Mapping):
        raise QllmError(
            f"{path} is not quantized: its config.json has no quantization_config; give the FP16 model to "
            "--qllm-model, and a GGUF file by its own path"
        )
    method = str(quantization.get("quant_method", "")).lower()
    reader = _READERS.get(method)
    if reader is None:
        raise QllmError(
            f"{path}: its quant_method is {method or 'not said'}; known ones: {', '.join(_READERS)}, and GGUF files"
        )
    try:
        return reader(quantization)
    except QllmError as error:
        raise QllmError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise QllmError(
            f"{path}: its quantization_config of {method} cannot be read ({type(error).__name__}: {error})"
        ) from error


def _of_gptq(config: Config) -> Description:
    return _grouped("GPTQ", int(config["bits"]), config.get("group_size"), config.get("sym"), "gptqmodel", "gptq")


def _of_awq(config: Config) -> Description:
    bits = int(config["bits"] if "bits" in config else config["w_bit"])
    group = config.get("group_size", config.get("q_group_size"))
    return _grouped("AWQ", bits, group, not config.get("zero_point", True), "gptqmodel", "gptq")


def _of_autoround(config: Config) -> Description:
    return _grouped("AutoRound", int(config["bits"]), config.get("group_size"), config.get("sym"), "auto_round", "")


def _of_bitsandbytes(config: Config) -> Description:
    if config.get("load_in_8bit"):
        return Description("LLM.int8()", 8, "bitsandbytes", "bitsandbytes", weight_only=False)
    method = str(config["bnb_4bit_quant_type"]).upper()
    return Description(method, 4, "bitsandbytes", "bitsandbytes", group_size=64)


def _of_compressed_tensors(config: Config) -> Description:
    groups = config["config_groups"]
    if any(_has_packed_zero_points(config, group) for group in groups.values()):
        raise QllmError(
            "transformers 5.23 cannot load the packed zero points of compressed-tensors (format pack-quantized, "
            "symmetric false); expected symmetric weights, so quantize with symmetric: true"
        )
    weights = [group["weights"] for group in groups.values()]
    bits = min(int(one["num_bits"]) for one in weights)
    narrowest = next(one for one in weights if int(one["num_bits"]) == bits)
    activations = any(group.get("input_activations") for group in groups.values())
    kind = "FP" if narrowest.get("type") == "float" else "INT"
    inputs = next((group["input_activations"] for group in groups.values() if group.get("input_activations")), None)
    width = f"W{bits}A{inputs['num_bits'] if inputs else 16}"
    return Description(
        f"{kind}{bits} ({width})",
        bits,
        "compressed_tensors",
        "compressed-tensors",
        weight_only=not activations,
        group_size=narrowest.get("group_size"),
        symmetric=narrowest.get("symmetric"),
    )


def _has_packed_zero_points(config: Config, group: Config) -> bool:
    packing = group.get("format") or config.get("format")
    return packing == "pack-quantized" and group["weights"].get("symmetric") is False


def _of_torchao(config: Config) -> Description:
    """By the class of the configuration and its fields, as ``torchao.core.config.config_to_dict`` writes them."""
    given = config["quant_type"]
    given = given.get("default", given) if isinstance(given, Mapping) else given
    if isinstance(given, str):  # torchao's older names, such as int4_weight_only
        return _of_torchao_kind(given, {})
    return _of_torchao_kind(str(given["_type"]), given.get("_data") or {})


def _of_torchao_kind(kind: str, data: Config) -> Description:
    parts = data.get("fqn_to_config") or data.get("module_fqn_to_config")
    if parts:  # by layers' names, None for those that stay as they are
        found = [_of_torchao_kind(str(part["_type"]), part.get("_data") or {}) for part in parts.values() if part]
        return replace(
            min(found, key=lambda part: part.bits),
            weight_only=all(part.weight_only for part in found),
            unpacked=any(part.unpacked for part in found),
        )
    name = kind.removesuffix("Config").lower().replace("_", "")
    dtype, bits = _torchao_weight(kind, name, data)
    granularity = data.get("granularity") or data.get("weight_granularity")
    inner = granularity.get("_data") if isinstance(granularity, Mapping) else None
    packing = data.get("intx_packing_format")
    return Description(
        f"{dtype}{bits} (torchao)",
        bits,
        "torchao",
        "torchao",
        weight_only="activation" not in name,
        group_size=(inner or {}).get("group_size") or data.get("group_size"),
        unpacked=isinstance(packing, Mapping) and str(packing.get("_data", "")).startswith("UNPACKED"),
    )


def _torchao_weight(kind: str, name: str, data: Config) -> tuple[str, int]:
    """INT or FP, and the width of a weight: from a field where there is one, else from the class's name."""
    if "bit_width" in data:
        return "INT", int(data["bit_width"])
    dtype = data.get("weight_dtype", data.get("dtype"))
    dtype = dtype.get("_data") if isinstance(dtype, Mapping) else dtype
    # The weights' type is the last one of a name: Float8DynamicActivationInt4Weight.
    found = re.match(r"(?:torch\.)?u?(int|float)(\d+)", str(dtype)) if dtype else None
    found = found or re.search(r"(int|float|fp)(\d+)(?:semisparse)?w(?:eight|o)", name)
    if found is None:
        raise QllmError(
            f"torchao's {kind} does not say how wide a weight is; expected a configuration with the weights' type in "
            "its name or in weight_dtype, such as Int4WeightOnlyConfig"
        )
    return "INT" if found[1] == "int" else "FP", int(found[2])


def _of_hqq(config: Config) -> Description:
    raise QllmError(
        "transformers 5.23 loads no checkpoint of hqq: its quantizer does not read saved codes; choose the regime "
        "hqq-4bit or another width, which is made of the FP16 model"
    )


def _of_quanto(config: Config) -> Description:
    weights, activations = str(config["weights"]), config.get("activations")
    bits = 8 if weights.startswith(("float8", "qfloat8")) else int(weights.rpartition("int")[2])
    method = "FP8 (quanto)" if "float8" in weights else f"INT{bits} (quanto)"
    return Description(method, bits, "optimum.quanto", "quanto", weight_only=activations in (None, "none"))


def _of_quanto_map(config: Config) -> Description:
    layers = [layer for layer in config.values() if layer.get("weights") not in (None, "none")]
    narrowest = min(layers, key=lambda layer: _of_quanto(layer).bits)
    return _of_quanto(narrowest)


def _of_fp8(config: Config) -> Description:
    block = config.get("weight_block_size")
    return Description("FP8", 8, weight_only=False, group_size=None if not block else int(block[0]) * int(block[1]))


def _of_fbgemm(config: Config) -> Description:
    return replace(_of_fp8(config), library="fbgemm_gpu", device="cuda")


def _of_nvfp4(config: Config) -> Description:
    raise QllmError(
        "transformers 5.23 loads no checkpoint of nvfp4: it only quantizes to it as it loads a dense one; expected one "
        "that compressed-tensors saved"
    )


def _of_width(method: str, library: str, bits: int | None = None, device: str = "") -> Callable[[Config], Description]:
    def read(config: Config) -> Description:
        width = int(config["bits"]) if bits is None else bits
        return replace(_grouped(method, width, config.get("group_size"), None, library, ""), device=device)

    return read


_READERS: dict[str, Callable[[Config], Description]] = {
    "gptq": _of_gptq,
    "awq": _of_awq,
    "auto-round": _of_autoround,
    "bitsandbytes": _of_bitsandbytes,
    "compressed-tensors": _of_compressed_tensors,
    "torchao": _of_torchao,
    "hqq": _of_hqq,
    "quanto": _of_quanto,
    "fp8": _of_fp8,
    "fbgemm_fp8": _of_fbgemm,
    # Which module each needs, and which device, is by transformers' quantizer of its name.
    "eetq": _of_width("EETQ", "kernels", 8, "cuda"),
    "higgs": _of_width("HIGGS", "flute", device="cuda"),
    "spqr": _of_width("SpQR", "spqr_quant", device="cuda"),
    "mxfp4": _of_width("MXFP4", "kernels", 4),
    "mxfp8": _of_width("MXFP8", "", 8),
    "nvfp4": _of_nvfp4,
}


def _grouped(method: str, bits: int, group: Any, symmetric: Any, library: str, extra: str) -> Description:
    size = int(group) if group is not None and int(group) > 0 else None
    return Description(method, bits, library, extra, True, size, None if symmetric is None else bool(symmetric))


def read_object(file: Path, name: str) -> dict[str, Any]:
    """A JSON file of a checkpoint.

    Raises:
        QllmError: names the file that is not there, or holds no JSON object.
    """
    try:
        content = json.loads(file.read_text())
    except OSError:
        raise QllmError(
            f"{name}: {file.parent} has no {file.name}; expected a checkpoint as its library saved it"
        ) from None
    except ValueError as error:
        raise QllmError(f"{file} is not valid JSON ({error}); save the checkpoint again") from error
    if not isinstance(content, dict):
        raise QllmError(f"{file} holds {type(content).__name__}, expected a JSON object; save the checkpoint again")
    return content
