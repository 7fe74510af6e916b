"""A regime: one way to quantize a model. Free of torch, so that collection stays cheap."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from math import floor
from typing import Any

BASELINE = "fp16"

KV = 1
"""Part of the store's key of a quantized cache: counted up with every change of how it is read."""

DENSE = 2
"""Part of the store's key of scores and kernels: counted up with every change of how dense weights are read."""

_PACKAGES = {"flute": "flute-kernel"}
"""Distributions of modules that no extra installs, where they have another name."""

SIMULATED = 1
"""Part of the store's key: counted up with every change that changes the weights or the account of a simulated method
of this package, as another version of a library does."""


@dataclass(frozen=True)
class Regime:
    """One way to quantize.

    Attributes:
        name: what users type and what stands in a test's id.
        method: the field's name for the algorithm, e.g. ``"GPTQ"``.
        bits: nominal width of a weight; selects the tolerance until ``bits_per_weight`` is known.
        backend: module below ``pytest_qllm.regimes.backends``, another module, or ``module:Class``; empty for the
            baseline.
        library: module that does the work, to look for when asking whether it is there.
        extra: extra of this package that installs the library.
        weight_only: activations stay in the compute dtype, so that dense weights say all about quality.
        options: the recipe's parameters (group size and the like).
        simulated: the quantized weights are computed here, and no kernel multiplies them: says nothing about speed
            or memory.
        device: ``"cuda"`` where the library has kernels for nothing else; empty for a regime that runs anywhere.
        adapter: directory of a LoRA adapter on the quantized model; empty for none.
        kv: width of the quantized key-value cache, such as ``"int4"``; empty for one in the compute dtype.
        bits_per_weight: what the quantized layers weigh, scales, zero points and outliers counted; None until the
            artifact is there (see ``size.py``).
        artifact: counted up with every change of the files that the backend makes by the same recipe.
    """

    name: str
    method: str
    bits: int
    backend: str = ""
    library: str = ""
    extra: str = ""
    weight_only: bool = True
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    simulated: bool = False
    device: str = ""
    adapter: str = ""
    kv: str = ""
    bits_per_weight: float | None = None
    artifact: int = 1

    @property
    def is_baseline(self) -> bool:
        return not (self.backend or self.adapter or self.kv)

    @property
    def base(self) -> Regime:
        """The quantized model alone: without an adapter, and with a cache in the compute dtype."""
        return replace(self, name=self.name.partition("+")[0], adapter="", kv="")

    @property
    def judged_bits(self) -> int:
        """The width whose tolerance applies: the whole bits that a weight really takes, or fewer of the cache."""
        weights = self.bits if self.bits_per_weight is None else max(1, floor(self.bits_per_weight))
        return min(weights, int(self.kv.removeprefix("int"))) if self.kv else weights

    @property
    def kv_library(self) -> str:
        """What quantizes the cache; optimum-quanto, transformers' default, has no 8 bits there."""
        return "hqq" if self.kv == "int8" else "optimum.quanto"

    def missing(self) -> str | None:
        """The command that installs what this regime lacks here, or None where all is there."""
        for library, extra in (("torch", "model"), (self.library, self.extra)):
            if library and not installed(library):
                package = f"'pytest-qllm[{extra}]'" if extra else _PACKAGES.get(library, library)
                return f"pip install {package}"
        if self.adapter and not installed("peft"):
            return "pip install 'pytest-qllm[lora]'"
        if self.kv and not installed(self.kv_library):
            return "pip install 'pytest-qllm[kv]'"
        return None

    def needs_device(self) -> str | None:
        """Why this machine cannot run the regime, or None where it can. Imports torch, if a device is needed."""
        if self.device != "cuda" or _cuda_works():
            return None
        return f"{self.name} runs on CUDA only: {self.library or self.backend} has no other kernel for {self.method}"

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the quantized weights, but for the model itself: part of the store's key."""
        version = version_of(self.library) if self.library else str(SIMULATED) if self.simulated else ""
        return {
            "method": self.method,
            "bits": self.bits,
            "options": dict(self.options),
            "backend": self.backend,
            "library": self.library,
            "version": version,
            **({"artifact": self.artifact} if self.artifact > 1 else {}),
        }


def installed(library: str) -> bool:
    """Whether a module can be imported, or a part of a package; without importing it."""
    try:
        return importlib.util.find_spec(library) is not None
    except ModuleNotFoundError:  # of the package that it is a part of
        return False


_GPUS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
"""Where Linux shows what torch may call CUDA: NVIDIA's driver, Windows' one, and AMD's."""


def _cuda_works() -> bool:
    if sys.platform == "linux" and not any(map(os.path.exists, _GPUS)):
        return False  # without importing torch
    import torch

    return torch.cuda.is_available()


@cache
def _distributions() -> Mapping[str, list[str]]:
    """By module. The files of all of them are read, which takes half a second: a recipe is asked for at every step."""
    return importlib.metadata.packages_distributions()


def version_of(module: str) -> str:
    """The version of the distribution that a module comes with, which may have another name."""
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        found = _distributions().get(module.partition(".")[0])
        if not found:
            raise
        return importlib.metadata.version(found[0])
