"""GPTQ (Frantar et al., 2022, arXiv 2210.17323) by GPTQModel, the maintained successor of AutoGPTQ.

The artifact has two parts: ``checkpoint/`` as GPTQModel saves it (AutoGPTQ's format), and ``dense/``, the effective
weights read back through the library's own layers. Quality is scored on the dense weights, whose products need no
kernel. ``load`` gives the kernel of the library's choice (its AUTO backend), which the probe compares with them.

Quantization runs in a process of its own with one thread: with more, GPTQModel adds up its Hessians in another order
and gives other weights. With one it gave the same bytes on every run, beside others or alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
    calibration={"corpus": "squad", "rows": 16, "tokens": 256},
)
METHODS = (_GPTQ,)
REGIMES = tuple(_GPTQ.regime(bits) for bits in _GPTQ.widths)


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize in a child process.

    Raises:
        QllmError: with the last line that the library said, if it fails.
    """
    job = {
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
    """The checkpoint under the kernel that GPTQModel chooses.

    In float16 where it has no kernel for the width in ``dtype`` (2, 3 and 8 bits in float32): every kernel takes it.
    """
    import torch

    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", _workers())
    from gptqmodel import BACKEND, GPTQModel

    def loaded(in_dtype: torch.dtype) -> PreTrainedModel:
        checkpoint = str(artifact / "checkpoint")
        return cast(
            "PreTrainedModel", GPTQModel.load(checkpoint, backend=BACKEND.AUTO, device=device, dtype=in_dtype).model
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


def _workers() -> str:
    """Its thread pool wants at least one worker per physical core or refuses to start."""
    return str(os.cpu_count() or 1)


def _main() -> None:
    """The child process: quantize, save, read the weights back."""
    job = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pytest_qllm.regimes.calibration import token_rows
    from pytest_qllm.regimes.shadow import replace_linears

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    cut = token_rows(tokenizer, job["calibration"], job["rows"], job["tokens"], job["seed"])
    rows = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in cut]
    config = QuantizeConfig(bits=job["bits"], group_size=job["group_size"], sym=job["symmetric"], desc_act=False)
    # Calibration runs in float32: half precision is emulated, a hundred times slower, on CPUs without it.
    quantizer = GPTQModel.load(job["model"], config, dtype=torch.float32)
    quantizer.quantize(rows, batch_size=4)
    into = Path(job["into"])
    quantizer.save(str(into / "checkpoint"))
    del quantizer

    # Its torch backend unpacks weights by plain operations, whatever kernel AUTO would take.
    quantized = GPTQModel.load(
        str(into / "checkpoint"), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16
    ).model
    layers = {name: layer for name, layer in quantized.named_modules() if hasattr(layer, "dequantize_weight")}
    shadow = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float16)
    with torch.inference_mode():
        replaced = replace_linears(shadow, lambda name, layer: _effective(layers.get(name), layer))
    if replaced != len(layers):
        raise QllmError(f"GPTQModel quantized {len(layers)} layers, of which the model has {replaced}")
    shadow.save_pretrained(into / "dense")
    tokenizer.save_pretrained(into / "dense")


def _effective(quantized: Any, layer: Any) -> torch.Tensor | None:
    """What a quantized layer stands for, shape (out features, in features), without what it was padded with."""
    if quantized is None:
        return None
    weight: torch.Tensor = quantized.dequantize_weight().T[: layer.out_features, : layer.in_features]
    return weight.contiguous().to(layer.weight.dtype)


if __name__ == "__main__":
    _main()
