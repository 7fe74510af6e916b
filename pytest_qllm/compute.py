"""What scores are computed in and on: chosen once, the same for baseline and candidates."""

from __future__ import annotations

import os

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.store import digest
from pytest_qllm.workshop import Compute


def choose(dtype: str, device: str, workers: int, worker: int = 0) -> Compute:
    """Resolve ``auto``; divide the cores, and the CUDA devices, among the workers.

    Args:
        dtype, device: as the options have them.
        workers: processes that compute at the same time.
        worker: which of them this is, from 0.

    Raises:
        QllmError: if the device is not there.
    """
    if device.startswith("cuda") and not _cuda_works():
        raise QllmError(f"--qllm-device is {device!r}, but torch finds no CUDA device here; use cpu")
    if device == "auto":
        device = "cuda" if _has_nvidia() and _cuda_works() else "cpu"
    if device == "cuda":
        device = f"cuda:{worker % _cuda_devices()}"
    if dtype == "auto":
        dtype = "float16" if device.startswith("cuda") else "bfloat16" if _native_bfloat16() else "float32"
    return Compute(dtype, device, max(1, len(os.sched_getaffinity(0)) // workers))


def _has_nvidia() -> bool:
    return os.path.exists("/dev/nvidiactl")


def _cuda_works() -> bool:
    try:
        import torch
    except ImportError:
        raise UnavailableError("models need torch: pip install 'pytest-qllm[model]'") from None
    return torch.cuda.is_available()


def _cuda_devices() -> int:
    import torch

    return torch.cuda.device_count()


def _native_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself; emulated it is a hundred times slower than float32.

    Read from the flags that Linux shows, so that a run which finds everything in the store imports no torch.
    """
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(_cpu_features()))


def processor(device: str) -> str:
    """What a library chooses its kernels by: the name of the GPU, or a hash of the CPU's instruction sets."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return digest(sorted(_cpu_features()))


def _cpu_features() -> list[str]:
    """The instruction sets that Linux shows; none on other systems."""
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return []
    return line.partition(":")[2].split()
