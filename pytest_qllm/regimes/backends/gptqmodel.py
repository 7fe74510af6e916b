"""GPTQ (Frantar et al., 2022, arXiv 2210.17323) by GPTQModel, the maintained successor of AutoGPTQ.

The artifact has two parts: ``checkpoint/`` as GPTQModel saves it (AutoGPTQ's format), and ``dense/``, the effective
weights read back through the library's own layers. Quality is scored on the dense weights, whose products need no
kernel; that the library's kernel agrees with them is checked on every layer when the artifact is made.

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
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

KERNEL_TOLERANCE = 0.02
"""Largest allowed difference of a layer's output to the dense product, relative to the output's largest value."""


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
    # Its thread pool wants at least one worker per physical core or refuses to start.
    environment = os.environ | {"GPTQMODEL_CPU_WORKERS": str(os.cpu_count() or 1), "OMP_NUM_THREADS": "1"}
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
    """The dense weights of the quantized model."""
    from pytest_qllm.models.loader import load_dense

    return load_dense(artifact / "dense", dtype, device)


def _main() -> None:
    """The child process: quantize, save, read the weights back, compare the kernel."""
    job = json.load(sys.stdin)
    import torch

    torch.set_num_threads(1)
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = _calibration_rows(tokenizer, job["calibration"], job["rows"], job["tokens"], job["seed"])
    config = QuantizeConfig(bits=job["bits"], group_size=job["group_size"], sym=job["symmetric"], desc_act=False)
    # Calibration runs in float32: half precision is emulated, a hundred times slower, on CPUs without it.
    quantizer = GPTQModel.load(job["model"], config, dtype=torch.float32)
    quantizer.quantize(rows, batch_size=4)
    into = Path(job["into"])
    quantizer.save(str(into / "checkpoint"))
    del quantizer

    quantized = GPTQModel.load(
        str(into / "checkpoint"), backend=BACKEND.GPTQ_TORCH, device="cpu", dtype=torch.float16
    ).model
    dense = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float16)
    report = _read_back(quantized, dense)
    dense.save_pretrained(into / "dense")
    tokenizer.save_pretrained(into / "dense")
    (into / "kernel.json").write_text(json.dumps(report))


def _read_back(quantized: Any, dense: Any) -> dict[str, Any]:
    """Put the quantized layers' effective weights into ``dense`` in place; compare each layer's kernel with them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    worst, layers = 0.0, 0
    with torch.inference_mode():
        for name, layer in quantized.named_modules():
            if not hasattr(layer, "dequantize_weight"):
                continue
            target = dense.get_submodule(name)
            weight = layer.dequantize_weight().T[: target.out_features, : target.in_features]
            probe = torch.randn(4, target.in_features, generator=generator)
            expected = probe @ weight.float().T + (0 if target.bias is None else target.bias.float())
            found = layer(probe.to(weight.dtype)).float()
            difference = float((found - expected).abs().max() / expected.abs().max())
            if not difference <= KERNEL_TOLERANCE:
                raise QllmError(f"kernel of {name} differs by {difference:.3g} of its output from its own weights")
            worst, layers = max(worst, difference), layers + 1
            target.weight.data = weight.contiguous().to(target.weight.dtype)
    if not layers:
        raise QllmError("GPTQModel quantized no layer of this model")
    return {"layers": layers, "largest_relative_difference": worst, "tolerance": KERNEL_TOLERANCE}


def _calibration_rows(tokenizer: Any, texts: Sequence[str], rows: int, tokens: int, seed: int) -> list[dict[str, Any]]:
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(texts))
    stream: list[int] = []
    for at in order:
        stream += tokenizer.encode(texts[at] + "\n\n")
        if len(stream) >= rows * tokens:
            break
    if len(stream) < rows * tokens:
        raise QllmError(f"the calibration corpus has {len(stream)} tokens; {rows} rows of {tokens} are needed")
    cut = [stream[at * tokens : (at + 1) * tokens] for at in range(rows)]
    return [{"input_ids": row, "attention_mask": [1] * tokens} for row in cut]


if __name__ == "__main__":
    _main()
