"""One module for each quantization library: what it offers (``REGIMES``, ``METHODS``), and how it is made and run.

A backend is a module or a class with the functions of ``Backend``, and perhaps those of ``DenseBackend`` or
``EngineBackend``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from pytest_qllm.engine.divergence import Observable


class Backend(Protocol):
    """What a quantization library has to offer.

    It may also have a ``dense``, see ``DenseBackend``. Without it, and wherever activations are quantized, the real
    kernels are scored, and there is nothing to compare them with. Modules that ``regime.options["keep"]`` matches
    (regular expressions, searched in a module's name) stay as they are.
    """

    def build(self, regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
        """Quantize the FP16 checkpoint at ``model`` and save the artifact in the empty directory ``into``.

        ``calibration`` are texts, empty for methods that need none.
        """

    def load(self, artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
        """The quantized model in evaluation mode, with the kernels that the library's users get by default.

        It computes in ``dtype``, or, where the library has no kernel for that, in the dtype that it documents; the
        model's ``dtype`` tells.
        """


class DenseBackend(Backend, Protocol):
    """A backend of weight-only methods that can tell its effective weights."""

    def dense(self, artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
        """A plain model with the effective weights, in evaluation mode, computing in ``dtype``.

        Never read through the kernels that ``load`` brings: a broken one would hide.
        """


class EngineBackend(Protocol):
    """A backend whose models are not transformers' own: it has an engine of its own in place of ``load``."""

    def build(self, regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
        """As a ``Backend``'s."""

    def engine(self, artifact: Path, model: Path, threads: int) -> Observable:
        """What answers requests with the artifact; ``model`` is the FP16 checkpoint that it was made from."""


def engine_backend(regime: Regime) -> EngineBackend | None:
    """The backend of a regime if it has an engine of its own, else None."""
    found = backend(regime) if regime.backend else None
    return cast(EngineBackend, found) if hasattr(found, "engine") else None


def dense_backend(regime: Regime) -> DenseBackend | None:
    """The backend of a weight-only regime if it has ``dense``, else None."""
    found = backend(regime) if regime.weight_only else None
    return cast(DenseBackend, found) if hasattr(found, "dense") else None


def backend(regime: Regime) -> Backend:
    """The backend of a regime; imports the library's module only now."""
    name, _, attribute = regime.backend.partition(":")
    own = f"{__name__}.{name}"
    module = importlib.import_module(own if "." not in name and importlib.util.find_spec(own) else name)
    return cast(Backend, getattr(module, attribute) if attribute else module)
