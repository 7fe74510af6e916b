"""The most memory that a model takes while it generates, measured in a process of its own.

On a CPU it is the resident set's high-water mark, set back when the model is loaded, less what the process took with
all libraries imported and no model; Linux alone tells both. On CUDA it is what torch had allocated at most, and what it
had reserved for nothing is not counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    from pytest_qllm.efficiency.costs import Shape
    from pytest_qllm.workshop import Compute

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What sets VmHWM back to VmRSS (proc_pid_clear_refs(5))."""


def measure(regime: Regime, artifact: Path, model: Path, compute: Compute, shape: Shape, batch: int) -> int:
    """Bytes at the peak, of one fresh process.

    Args:
        artifact: of the quantized model; the checkpoint itself for the baseline.
        model: the FP16 checkpoint.

    Raises:
        UnavailableError: where the system does not tell.
        QllmError: with the last line of the process, if it fails.
    """
    if compute.device == "cpu" and not _CLEAR.exists():
        raise UnavailableError("the peak of memory is read from /proc, which this system does not have")
    job = {
        "regime": asdict(regime),
        "artifact": str(artifact),
        "model": str(model),
        "compute": asdict(compute),
        "shape": [shape.input, shape.output],
        "batch": batch,
    }
    run = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(job),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # a backend may be the test suite's own
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        lines = [line for line in (run.stderr + run.stdout).splitlines() if line.strip()]
        said = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "nothing")
        raise QllmError(f"{regime.name} cannot generate in a process of its own (exit {run.returncode}): {said[:300]}")
    return int(json.loads(run.stdout.splitlines()[-1])["peak"])


def _main(job: Mapping[str, Any]) -> int:
    """The child process."""
    import torch

    from pytest_qllm.efficiency import players
    from pytest_qllm.models import remote_code
    from pytest_qllm.models.loader import load_tokenizer
    from pytest_qllm.quiet import quiet
    from pytest_qllm.regimes.size import matrices
    from pytest_qllm.workshop import Compute

    regime, compute = Regime(**job["regime"]), Compute(**job["compute"])
    torch.set_num_threads(compute.threads)
    config = json.loads((Path(job["model"]) / "config.json").read_text())
    if remote_code.needed(config):  # the parent has not come here with code that nobody trusts
        remote_code.adopt(Path(job["model"]), config)
    prompts = players.prompts(load_tokenizer(Path(job["model"])), job["batch"], job["shape"][0])
    matrices(Path(job["model"]))  # imports what models of this kind are made of: not the model's memory
    if regime.library:
        importlib.import_module(regime.library)
    on_cuda = compute.device.startswith("cuda")
    _trim()
    before = 0 if on_cuda else _resident("VmRSS")
    with quiet():
        player = players.load(regime, Path(job["artifact"]), Path(job["model"]), compute)
        _trim()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(compute.device)
        else:
            _CLEAR.write_text(_RESET_PEAK)
        player.begin(prompts, job["shape"][1])
        player.step(job["shape"][1] - 1)
    return torch.cuda.max_memory_allocated(compute.device) if on_cuda else _resident("VmHWM") - before


def _resident(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return 1024 * int(line.split()[1])


def _trim() -> None:
    """Give back what is free: what importing and loading left is no memory of generating."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


if __name__ == "__main__":
    print(json.dumps({"peak": _main(json.load(sys.stdin))}))
