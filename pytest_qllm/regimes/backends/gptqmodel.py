"""GPTQ (Frantar et al., 2022, arXiv 2210.17323) by GPTQModel, the maintained successor of AutoGPTQ.

And AWQ (Lin et al., 2023, arXiv 2306.00978), for which GPTQModel needs CUDA. Every linear layer of the decoder is
quantized; embeddings and output head stay in FP16.

The artifact has two parts: ``checkpoint/`` as GPTQModel saves it (AutoGPTQ's format; what is not quantized is in FP16),
and ``dense/``, the effective weights read back through the library's own layers. Quality is scored on the dense
weights, whose products need no kernel. ``load`` gives the kernel of the library's choice (its AUTO backend), which the
probe compares with them.

Quantization runs in a process of its own with one thread: with more, GPTQModel adds up its Hessians in another order
and gives other weights. With one it gave the same bytes on every run, beside others or alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

_GPTQ = Method(
    "gptq",
    "GPTQ",
    "gptqmodel",
    (8, 4, 3, 2),
    "gptqmodel",
    "gptq",
    groups=(16, 32, 64, 128),
    # 64 and not the usual 128: the default model's hidden size of 576 is no multiple of 128, and its own weights lie
    # on a grid of 32, on which 4 bits would look lossless.
    group=64,
    symmetric=True,
    keeps=True,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
    artifact=2,  # 1 had embeddings in the dtype of the calibration
)
_AWQ = Method(
    "awq",
    "AWQ",
    "gptqmodel",
    (4,),
    "gptqmodel",
    "gptq",
    groups=(32, 64, 128),
    group=64,
    symmetric=False,
    device="cuda",
    keeps=True,
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
)
METHODS = (_GPTQ, _AWQ)
REGIMES = tuple(method.regime(bits) for method in METHODS for bits in method.widths)


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize in a child process.

    Raises:
        QllmError: with the last line that the library said, if it fails.
    """
    from pytest_qllm.regimes.layers import kept_of

    job = {
        "method": regime.method,
        "device": regime.device,
        "keep": kept_of(regime, model),
        "model": str(model.resolve()),
        "into": str(into.resolve()),
        "bits": regime.bits,
        "group_size": regime.options["group_size"],
        "symmetric": regime.options["symmetric"],
        "calibration": list(calibration),
        "rows": regime.options["calibration"]["rows"],
        "tokens": regime.options["calibration"]["tokens"],
        "seed": seed,
    }
    environment = os.environ | {"GPTQMODEL_CPU_WORKERS": _workers(), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:  # it writes its logs into the working directory
        result = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(job),
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
        )
    if result.returncode:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "nothing")
        raise QllmError(f"GPTQModel failed on {regime.name} (exit {result.returncode}): {said.strip()[:300]}")


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The checkpoint under the kernel that GPTQModel chooses (``load_checkpoint``)."""
    return load_checkpoint(artifact / "checkpoint", dtype, device)


def load_checkpoint(checkpoint: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Any checkpoint of GPTQ or AWQ under the kernel that GPTQModel chooses.

    In float16 where it has no kernel for the width in ``dtype`` (2, 3 and 8 bits in float32): every kernel takes it.
    """
    import torch

    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", _workers())
    from gptqmodel import BACKEND, GPTQModel

    def loaded(in_dtype: torch.dtype) -> PreTrainedModel:
        return cast(
            "PreTrainedModel",
            GPTQModel.load(str(checkpoint), backend=BACKEND.AUTO, device=device, dtype=in_dtype).model,
        )

    with quiet():
        try:
            model = loaded(dtype)
        except NotImplementedError:
            if dtype == torch.float16:
                raise
            model = loaded(torch.float16)
    return model.eval()


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The dense weights of the quantized model."""
    from pytest_qllm.models.loader import load_dense

    return load_dense(artifact / "dense", dtype, device)


def dense_checkpoint(checkpoint: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The dense weights of any checkpoint of GPTQ or AWQ, unpacked by plain operations and not by a kernel."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", _workers())
    import torch
    from gptqmodel import BACKEND, GPTQModel

    from pytest_qllm.regimes.shadow import replace_linears

    with quiet(), torch.inference_mode(False), torch.no_grad():
        config = json.loads((checkpoint / "config.json").read_text()).get("quantization_config", {})
        backend = BACKEND.AWQ_TORCH if config.get("quant_method") == "awq" else BACKEND.GPTQ_TORCH
        model = GPTQModel.load(str(checkpoint), backend=backend, device="cpu", dtype=torch.float16).model
        replace_linears(
            model,
            lambda _, layer: _matrix(layer) if hasattr(layer, "qzeros") else None,
        )
        del model.config.quantization_config
    return cast("PreTrainedModel", model.to(dtype).to(device).eval())


def _workers() -> str:
    """Its thread pool wants at least one worker per physical core or refuses to start."""
    return str(os.cpu_count() or 1)


def _main() -> None:
    """The child process: quantize, save, read the weights back."""
    job = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)
    from gptqmodel import BACKEND, GPTQModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pytest_qllm.regimes.calibration import token_rows
    from pytest_qllm.regimes.shadow import replace_linears

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    cut = token_rows(tokenizer, job["calibration"], job["rows"], job["tokens"], job["seed"])
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in cut]
    config = _config(job)
    # Calibration runs in float32: half precision is emulated, a hundred times slower, on CPUs without it.
    dtype = torch.float16 if job["device"] == "cuda" else torch.float32
    quantizer = GPTQModel.load(job["model"], config, dtype=dtype)
    quantizer.quantize(rows, batch_size=4)
    into = Path(job["into"])
    quantizer.save(str(into / "checkpoint"))
    del quantizer
    _in_half(into / "checkpoint")

    # Its torch backends unpack weights by plain operations, whatever kernel AUTO would take.
    kernel = BACKEND.AWQ_TORCH if job["method"] == "AWQ" else BACKEND.GPTQ_TORCH
    quantized = GPTQModel.load(str(into / "checkpoint"), backend=kernel, device="cpu", dtype=torch.float16).model
    layers = {name: layer for name, layer in quantized.named_modules() if hasattr(layer, "qweight")}
    shadow = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float16)
    # AWQ changes what is not quantized, too: it moves scales from a layer's columns into what comes before.
    rest = {name: tensor for name, tensor in quantized.state_dict().items() if name.rpartition(".")[0] not in layers}
    shadow.load_state_dict(rest, strict=False)
    with torch.inference_mode():
        replaced = replace_linears(shadow, lambda name, layer: _effective(layers.get(name), layer))
    if replaced != len(layers):
        raise QllmError(f"GPTQModel quantized {len(layers)} layers, of which the model has {replaced}")
    shadow.save_pretrained(into / "dense")
    tokenizer.save_pretrained(into / "dense")


def _in_half(checkpoint: Path) -> None:
    """What is not quantized in FP16, as all other regimes have it, and not in the dtype of the calibration."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    size = 0
    for path in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        halved = {name: one.half() if one.dtype == torch.float32 else one for name, one in tensors.items()}
        size += sum(one.nbytes for one in halved.values())
        save_file(halved, path, metadata)
    for name, change in (
        ("config.json", {"dtype": "float16"}),
        ("model.safetensors.index.json", {"metadata": {"total_size": size}}),
    ):
        path = checkpoint / name
        if path.is_file():
            path.write_text(json.dumps(json.loads(path.read_text()) | change, indent=2) + "\n")


def _config(job: Mapping[str, Any]) -> Any:
    from gptqmodel import QuantizeConfig
    from gptqmodel.quantization import FORMAT, METHOD

    awq = {"quant_method": METHOD.AWQ, "format": FORMAT.GEMM} if job["method"] == "AWQ" else {"desc_act": False}
    left: dict[str, dict[str, Any]] = {f"-:{re.escape(name)}$": {} for name in job["keep"]}
    return QuantizeConfig(
        bits=job["bits"], group_size=job["group_size"], sym=job["symmetric"], dynamic=left or None, **awq
    )


def _effective(quantized: Any, layer: Any) -> torch.Tensor | None:
    """What a quantized layer stands for, shape (out features, in features), without what it was padded with."""
    if quantized is None:
        return None
    return _matrix(quantized, layer.out_features, layer.in_features).to(layer.weight.dtype)


def _matrix(quantized: Any, rows: int | None = None, columns: int | None = None) -> torch.Tensor:
    if hasattr(quantized, "dequantize_weight"):
        weight = quantized.dequantize_weight()
    else:
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

        weight = dequantize_gemm(
            quantized.qweight, quantized.qzeros, quantized.scales, quantized.bits, quantized.group_size
        )
    found: torch.Tensor = weight.T
    return found[: rows or quantized.out_features, : columns or quantized.in_features].contiguous()


if __name__ == "__main__":
    _main()
