"""A regime: one way to quantize a model. Free of torch, so that collection stays cheap."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass, field
from typing import Any

BASELINE = "fp16"


@dataclass(frozen=True)
class Regime:
    """One way to quantize.

    Attributes:
        name: what users type and what stands in a test's id.
        method: the field's name for the algorithm, e.g. ``"GPTQ"``.
        bits: nominal width of a weight; selects the tolerance.
        backend: module below ``pytest_qllm.regimes.backends``; empty for the baseline.
        library: distribution that does the work, and module to look for when asking whether it is there.
        extra: extra of this package that installs the library.
        weight_only: activations stay in the compute dtype, so that dense weights say all about quality.
        options: the recipe's parameters (group size and the like).
    """

    name: str
    method: str
    bits: int
    backend: str = ""
    library: str = ""
    extra: str = ""
    weight_only: bool = True
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_baseline(self) -> bool:
        return not self.backend

    def missing(self) -> str | None:
        """The command that installs what this regime lacks here, or None where it can run."""
        for library, extra in (("torch", "model"), (self.library, self.extra)):
            if library and importlib.util.find_spec(library) is None:
                return f"pip install 'pytest-qllm[{extra}]'"
        return None

    def recipe(self) -> dict[str, Any]:
        """Everything that decides the quantized weights, but for the model itself: part of the store's key."""
        version = importlib.metadata.version(self.library) if self.library else ""
        return {
            "method": self.method,
            "bits": self.bits,
            "options": self.options,
            "backend": self.backend,
            "library": self.library,
            "version": version,
        }
