"""A regime: one way to quantize a model. Free of torch, so that collection stays cheap."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

BASELINE = "fp16"


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

    @property
    def is_baseline(self) -> bool:
        return not (self.backend or self.adapter or self.kv)

    @property
    def base(self) -> Regime:
        """The quantized model alone: without an adapter, and with a cache in the compute dtype."""
        return replace(self, name=self.name.partition("+")[0], adapter="", kv="")

    @property
    def judged_bits(self) -> int:
        """The width whose tolerance applies: all of the bits that a weight really takes, in whole ones."""
        return self.bits if self.bits_per_weight is None else max(1, floor(self.bits_per_weight))

    def missing(self) -> str | None:
        """The command that installs what this regime lacks here, or None where it can run."""
        for library, extra in (("torch", "model"), (self.library, self.extra)):
            if library and importlib.util.find_spec(library) is None:
                return f"pip install 'pytest-qllm[{extra}]'" if extra else f"pip install {library}"
        if self.adapter and importlib.util.find_spec("peft") is None:
            return "pip install 'pytest-qllm[lora]'"
        return None

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the quantized weights, but for the model itself: part of the store's key."""
        version = _version(self.library) if self.library else ""
        return {
            "method": self.method,
            "bits": self.bits,
            "options": dict(self.options),
            "backend": self.backend,
            "library": self.library,
            "version": version,
        }


def _version(module: str) -> str:
    """The version of the distribution that a module comes with, which may have another name."""
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        found = importlib.metadata.packages_distributions().get(module.partition(".")[0])
        if not found:
            raise
        return importlib.metadata.version(found[0])
