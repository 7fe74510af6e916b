"""A checkpoint that somebody else quantized, as a regime: method, width and groups by its own account. Free of torch.

A configuration is read by ``recognition``, a GGUF file's own header by ``gguf_file``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.models import remote_code, source
from pytest_qllm.regimes import gguf_file
from pytest_qllm.regimes.recognition import QUANTO_MAP, describe, read_object
from pytest_qllm.regimes.regime import Regime, installed

ARCHITECTURE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
"""What a checkpoint must have in common with the FP16 model."""


READABLE = ("gptqmodel", "bitsandbytes", "compressed_tensors")
"""Libraries whose weights are read back without their kernels."""

_PICKLES = (".bin", ".pt", ".pth")


def regime(name: str, where: str, root: Path = Path(), *, trusted: bool = False) -> Regime:
    """The regime of a quantized checkpoint: a directory, a GGUF file or a directory with one model of these, a hub id.

    Of a hub's checkpoint only the configuration is fetched here.

    Raises:
        QllmError: in one line, if there is none, its configuration says no method that is known, or its weights are
            pickled.
    """
    path = root / Path(where).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return _of_gguf(name, path.resolve())
    local = path.is_dir()
    if path.is_file():
        what = "a pickle, which is never read" if path.suffix in _PICKLES else "a single file"
        raise QllmError(f"{name}={where} is {what}; expected the directory that has its config.json, or a GGUF file")
    if not local and (not source.HUB_ID.fullmatch(where) or path.suffix in (".gguf", ".safetensors")):
        raise QllmError(f"{name}={where}: there is no such directory, GGUF file or hub id; give a quantized checkpoint")
    if local and not (path / "config.json").is_file() and any(path.glob("*.gguf")):
        return _of_gguf(name, gguf_file.files(path.resolve())[0])
    folder = path.resolve() if local else source.from_hub(where, ["*.json"])
    if not local and not (folder / "config.json").is_file():
        raise QllmError(
            f"{name}={where}: it has no config.json on the hub, as repositories of GGUF files have none; fetch the "
            f"file (hf download {where} FILE.gguf) and give its path"
        )
    config = read_object(folder / "config.json", name)
    if local:
        _check_files(name, folder)  # first: what hqq saves says nothing in config.json, and is pickled
    found = describe(config, folder)
    options: dict[str, Any] = {"path": str(folder)} if local else {"hub": where}
    if found.unpacked:
        options["unpacked"] = True
    if "auto_map" in config:
        options |= {"remote_code": True, "trusted": trusted}
    if found.group_size is not None:
        options["group_size"] = found.group_size
    if found.symmetric is not None:
        options["symmetric"] = found.symmetric
    readable = found.library in READABLE or (folder / QUANTO_MAP).is_file()
    backend = "checkpoint" if found.weight_only and readable else "checkpoint:Exact"
    return Regime(
        name,
        found.method,
        found.bits,
        backend,
        found.library,
        found.extra,
        found.weight_only,
        options,
        device=found.device,
    )


def fetched(regime: Regime) -> Path:
    """The directory of a checkpoint regime, all of it.

    Raises:
        QllmError: if the hub does not give it, or its weights are pickled.
        UnavailableError: if it needs code of its own that the user does not trust by name.
    """
    may_need_code = regime.options.get("remote_code") and not regime.options["trusted"]
    if may_need_code and not remote_code.is_known(read_object(_folder(regime) / "config.json", regime.name)):
        remote_code.refuse(regime.name, regime.name)
    path = _folder(regime)
    if path.suffix == ".gguf":
        return path
    if "hub" in regime.options:
        path = source.from_hub(regime.options["hub"])
    _check_files(regime.name, path)
    return path


def _folder(regime: Regime) -> Path:
    own = regime.options.get("path")
    return Path(own) if own else source.from_hub(regime.options["hub"], ["*.json"])


def dequantized(regime: Regime, device: str) -> bool:
    """Whether transformers makes dense weights of the checkpoint as it loads it, so that no kernel is its own.

    Its quantizers of FP8 and MXFP4 do so, with no more than a warning, where the machine lacks what their kernels need.
    """
    if regime.backend != "checkpoint:Exact":
        return False
    if regime.method in ("FP8", "MXFP8"):
        return not (device.startswith("cuda") and _multiplies_fp8(device))
    return regime.method == "MXFP4" and not installed("triton")


def _multiplies_fp8(device: str) -> bool:
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 9)


def check_fits(name: str, path: Path, model: Path) -> None:
    """Refuse a checkpoint of another model than the FP16 one.

    Raises:
        QllmError: names the first figure that differs.
    """
    theirs, ours = read_object(path / "config.json", name), read_object(model / "config.json", name)
    for key in ARCHITECTURE:
        if theirs.get(key) != ours.get(key):
            raise QllmError(
                f"{name}={path} is not a quantization of this model: its {key} is {theirs.get(key)}, the FP16 model's "
                f"{ours.get(key)}"
            )


def _of_gguf(name: str, path: Path) -> Regime:
    found = gguf_file.describe_gguf(path)
    options: dict[str, Any] = {"path": str(path)}
    if found.group_size is not None:
        options["group_size"] = found.group_size
    return Regime(name, found.method, found.bits, "checkpoint:Gguf", "llama_cpp", "llama", False, options)


def _check_files(name: str, path: Path) -> None:
    if not any(path.glob("*.safetensors")):
        pickled = next((file.name for kind in _PICKLES for file in sorted(path.glob(f"*{kind}"))), None)
        why = f"only pickled weights ({pickled}), which are never read" if pickled else "no *.safetensors"
        raise QllmError(f"{name}={path} has {why}; save the checkpoint with safetensors")
