"""LoRA adapters on a quantized base (Hu et al., 2021, arXiv 2106.09685; QLoRA, Dettmers et al., 2023), through PEFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet
from pytest_qllm.store import digest, file_digest

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS = "adapter_model.safetensors"


def fingerprint(adapter: str) -> str:
    """What decides an adapter: the hash of its configuration and weights.

    Raises:
        QllmError: if the directory holds no adapter that can be read safely.
    """
    folder = Path(adapter).expanduser()
    return digest([_config(folder), file_digest(folder / _WEIGHTS)])


def add(model: PreTrainedModel, adapter: str) -> PreTrainedModel:
    """The model with the adapter beside its layers, in place, in evaluation mode.

    Raises:
        QllmError: if the adapter was made for another base, or PEFT cannot put it beside these layers.
    """
    folder = Path(adapter).expanduser()
    _config(folder)
    _check_fits(model, folder)
    with quiet():
        try:
            model.load_adapter(str(folder))
        except (ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
            line = (str(error).splitlines() or [""])[0]
            raise QllmError(
                f"PEFT cannot put the adapter {folder} on this model ({type(error).__name__}: {line})"
            ) from error
    return model.eval()


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise QllmError(
            f"lora={folder}: there is no {file.name}; expected a directory that PEFT's save_pretrained made"
        )
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise QllmError(f"{file} is not valid JSON ({error}); save the adapter again") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise QllmError(f"{file} describes an adapter of the type {kind!r}; expected LORA")
    if not (folder / _WEIGHTS).is_file():
        other = (folder / "adapter_model.bin").is_file()
        why = "only pickled weights (adapter_model.bin), which are never read" if other else f"no {_WEIGHTS}"
        raise QllmError(f"lora={folder} has {why}; save the adapter with safetensors")
    return config


def _check_fits(model: PreTrainedModel, folder: Path) -> None:
    """PEFT leaves out what it finds no layer for; here every matrix must have its layer, of its width."""
    from safetensors import SafetensorError, safe_open

    layers = {name: module for name, module in model.named_modules() if hasattr(module, "in_features")}
    try:
        with safe_open(folder / _WEIGHTS, "pt") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise QllmError(f"{folder / _WEIGHTS} is not a readable safetensors file ({error}); save it again") from error
    if not any(".lora_A" in name for name in shapes) or not any(".lora_B" in name for name in shapes):
        raise QllmError(f"lora={folder} changes nothing: its weights have no LoRA matrices; save the adapter again")
    for name, shape in shapes.items():
        base, _, side = name.removeprefix("base_model.model.").rpartition(".lora_")
        if not side or side[0] not in "AB":
            continue
        layer = layers.get(base)
        expected = None if layer is None else layer.in_features if side[0] == "A" else layer.out_features
        found = shape[1] if side[0] == "A" else shape[0]
        if layer is None or found != expected:
            why = "the model has no such layer" if layer is None else f"is {found} wide there, the layer {expected}"
            raise QllmError(f"lora={folder} is for another base: {base} ({why}); give the adapter of this model")
