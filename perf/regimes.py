"""What each regime costs to make and weighs: seconds, peak memory and bytes, each made in a process of its own.

    python perf/regimes.py [--regimes NAMES] [--model MODEL] [--store DIR] [--json FILE]

Seconds are the processor's, of making the artifact with one thread after the library is imported. Peak memory is of the
whole process (``ru_maxrss``), or of its own child where a library works in one, and holds the FP16 model and torch,
too: compare it with the first line, a process that only loads the FP16 model. Bytes are of the quantized layers'
tensors in the artifact, and the bits per weight these bytes over the number of their weights; what stays in FP16 is not
counted. A simulated regime saves FP16 weights: its figures are those of its own account. With ``--store`` the artifacts
are kept there, for sessions to use; one that is there already is an error, as making it cannot be measured again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.models.source import resolve
from pytest_qllm.regimes import accounting
from pytest_qllm.regimes.backends import backend
from pytest_qllm.regimes.catalog import BUILTIN, RegimeCatalog
from pytest_qllm.regimes.regime import BASELINE, Regime
from pytest_qllm.regimes.size import matrices
from pytest_qllm.store import Store
from pytest_qllm.workshop import Compute, Workshop

MEGA = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", default=",".join(one.name for one in BUILTIN), help="default: all")
    parser.add_argument("--model", default="smollm2-135m", help="as --qllm-model (default: %(default)s)")
    parser.add_argument("--store", type=Path, help="keep the artifacts there (default: nowhere)")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measured(options.one, options.model, options.store or Path(folder))))
        return
    rows = []
    print(f"{'regime':22}{'seconds':>9}{'peak MB':>9}{'MB':>8}{'bits/weight':>13}")
    for name in options.regimes.split(","):
        row = in_a_process(name, options.model, options.store)
        rows.append(row)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2))
        if "reason" in row:
            print(f"{name:22}  {row['reason']}", flush=True)
        else:
            bits = f"{row['bits_per_weight']:.2f}"
            print(f"{name:22}{row['seconds']:9.1f}{row['peak']:9.0f}{row['bytes'] / MEGA:8.1f}{bits:>13}", flush=True)


def in_a_process(name: str, model: str, store: Path | None) -> dict[str, Any]:
    """The row of one regime."""
    command = [sys.executable, __file__, "--one", name, "--model", model]
    if store is not None:
        command += ["--store", str(store)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        return {"regime": name, "reason": (run.stderr.strip().splitlines() or ["it failed"])[-1]}
    return dict(json.loads(run.stdout.splitlines()[-1]))


def measured(name: str, model: str, store: Path) -> dict[str, Any]:
    """Make one regime here; runs in a process of its own."""
    import torch

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import linears

    regime = RegimeCatalog().get(name)
    reason = regime.missing() or regime.needs_device()
    if reason:
        return {"regime": name, "reason": reason}
    torch.set_num_threads(1)
    cache = Store(user_cache_path("pytest-qllm"))
    checkpoint = resolve(model, cache)
    if name == BASELINE:
        start = _seconds()
        dense = load_dense(checkpoint.path, torch.float16, "cpu")
        count = sum(layer.weight.numel() for layer in linears(dense).values())
        return _row(name, _seconds() - start, 2 * count, count)
    if regime.library:
        __import__(regime.library)
    workshop = Workshop(lambda: checkpoint, DataSource("auto", cache), Compute("float32", "cpu", 1), 0, Store(store))
    start, begun = _seconds(), time.time()
    artifact = workshop.artifact(regime)
    seconds = _seconds() - start
    peak = _peak()
    if artifact.stat().st_mtime < begun:
        raise SystemExit(f"{artifact} is there already")
    return _row(name, seconds, *(told(regime, artifact, checkpoint.path) or weight(artifact, checkpoint.path)), peak)


def _row(name: str, seconds: float, size: int, count: int, peak: float | None = None) -> dict[str, Any]:
    return {
        "regime": name,
        "seconds": seconds,
        "peak": _peak() if peak is None else peak,
        "bytes": size,
        "bits_per_weight": 8 * size / count,
    }


def _seconds() -> float:
    """Of this process and its children, as the processor counts them: others that compute here do not show."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak() -> float:
    """Megabytes, as Linux counts it, in kilobytes."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(own, children) * 1024 / MEGA


def told(regime: Regime, artifact: Path, checkpoint: Path) -> tuple[int, int] | None:
    """As ``weight``, by a simulated regime's own account, or a backend's (GGUF files)."""
    layers = accounting.read_layers(artifact).values()
    if layers:
        return round(sum(one.bits for one in layers) / 8), sum(one.weights for one in layers)
    own = getattr(backend(regime), "size", None)
    if own is None:
        return None
    count = sum(matrices(checkpoint)[0].values())
    return round(own(artifact).bits_per_weight * count / 8), count


def weight(artifact: Path, checkpoint: Path) -> tuple[int, int]:
    """Bytes of the quantized layers in the artifact, and how many weights they are; ``dense/`` is a copy to score."""
    import torch
    from safetensors.torch import load_file

    from pytest_qllm.models.loader import load_dense
    from pytest_qllm.regimes.layers import linears

    layers = linears(load_dense(checkpoint, torch.float16, "cpu"))
    size, count = 0, 0
    seen: set[str] = set()
    for file in artifact.rglob("*.safetensors"):
        if "dense" in file.relative_to(artifact).parts:
            continue
        for key, tensor in load_file(file).items():
            name = next((name for name in layers if key.startswith(f"{name}.")), None)
            if name is None or key.endswith(".bias"):
                continue
            size += tensor.numel() * tensor.element_size()
            if name not in seen:
                seen.add(name)
                count += layers[name].weight.numel()
    return size, count


if __name__ == "__main__":
    main()
