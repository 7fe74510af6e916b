"""A checkpoint that somebody else quantized, loaded by the library that its configuration names.

The artifact only says where the checkpoint is. Where its weights can be read back without the kernels (GPTQ, AWQ,
bitsandbytes' 4 bits, compressed-tensors, optimum-quanto), quality is scored on the dense weights; ``Exact`` is for all
others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes import checkpoint, recognition
from pytest_qllm.regimes.backends import bitsandbytes, gptqmodel, llama_cpp, quanto
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import POINTER, Size

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pytest_qllm.engine.llama_engine import LlamaEngine


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Note where the checkpoint is.

    Raises:
        QllmError: if it is not a quantization of ``model``, or its weights are pickled.
    """
    path = checkpoint.fetched(regime)
    if path.is_dir():
        checkpoint.check_fits(regime.name, path, model)
    (into / POINTER).write_text(json.dumps({"path": str(path), "trusted": bool(regime.options.get("trusted"))}))


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The checkpoint with its library's kernels."""
    path, trusted = _pointed(artifact)
    method = _method(path)
    if method == "bitsandbytes":
        return bitsandbytes.load(path, dtype, device)
    if method in ("gptq", "awq"):
        return gptqmodel.load_checkpoint(path, dtype, device)
    if (path / recognition.QUANTO_MAP).is_file():
        return quanto.load_checkpoint(path, dtype, device)
    model = _by_transformers(path, dtype, device, trusted)
    _compute_in(dtype, model, method)
    return model


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The dense weights of a checkpoint of GPTQ or AWQ, bitsandbytes' 4 bits, compressed-tensors, or optimum-quanto."""
    path, trusted = _pointed(artifact)
    method = _method(path)
    if method == "bitsandbytes":
        return bitsandbytes.dense(path, dtype, device)
    if method in ("gptq", "awq"):
        return gptqmodel.dense_checkpoint(path, dtype, device)
    if (path / recognition.QUANTO_MAP).is_file():
        return quanto.dense_checkpoint(path, dtype, device)
    from transformers import CompressedTensorsConfig

    return _by_transformers(
        path, dtype, device, trusted, quantization_config=CompressedTensorsConfig(run_compressed=False)
    )


class Exact:
    """For checkpoints whose weights only their kernels can tell."""

    build = staticmethod(build)
    load = staticmethod(load)


class Gguf:
    """For GGUF files, which llama.cpp runs; it refuses one of another model when it loads it."""

    build = staticmethod(build)

    @staticmethod
    def engine(artifact: Path, model: Path, threads: int) -> LlamaEngine:
        """llama.cpp with the file."""
        return llama_cpp.engine(_pointed(artifact)[0], model, threads)

    @staticmethod
    def size(artifact: Path) -> Size:
        """What the file's header says."""
        return llama_cpp.size(_pointed(artifact)[0])


def _pointed(artifact: Path) -> tuple[Path, bool]:
    content = json.loads((artifact / POINTER).read_text())
    return Path(content["path"]), bool(content["trusted"])


def _compute_in(dtype: torch.dtype, model: PreTrainedModel, method: str) -> None:
    """Bring what transformers leaves in the dtype of the file into the one that is computed in: else it cannot run."""
    if method in ("fp8", "mxfp8", "mxfp4") and all(one.dtype.itemsize > 1 for one in model.parameters()):
        model.to(dtype)  # dequantized, embeddings and norms not
    if method == "torchao":
        from torchao.quantization import IntxUnpackedToInt8Tensor

        for module in model.modules():
            if isinstance(getattr(module, "weight", None), IntxUnpackedToInt8Tensor):
                module.to(dtype)


def _method(path: Path) -> str:
    config: dict[str, Any] = json.loads((path / "config.json").read_text())
    named = config.get("quantization_config", {}).get("quant_method", "")
    return str(named) or ("gptq" if (path / "quantize_config.json").is_file() else "quanto")


def _by_transformers(path: Path, dtype: torch.dtype, device: str, trusted: bool, **options: Any) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    from pytest_qllm.models.loader import check_finite

    with quiet():
        model, loading = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            device_map=device,
            use_safetensors=True,
            trust_remote_code=trusted,
            output_loading_info=True,
            **options,
        )
    absent = sorted(loading["missing_keys"])
    if absent:
        raise QllmError(f"{path} lacks the weights of {absent[0]} ({len(absent)} in all); save the checkpoint again")
    check_finite(model, path)
    return cast("PreTrainedModel", model.eval())
