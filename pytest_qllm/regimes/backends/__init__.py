"""One module for each quantization library, with ``build``, ``load`` and perhaps ``dense`` (see ``Backend``)."""

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


class Backend(Protocol):
    """What a quantization library has to offer.

    It may also have a ``dense``, see ``DenseBackend``. Without it, and wherever activations are quantized, the real
    kernels are scored, and there is nothing to compare them with.
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


def dense_backend(regime: Regime) -> DenseBackend | None:
    """The backend of a weight-only regime if it has ``dense``, else None."""
    found = backend(regime) if regime.weight_only else None
    return cast(DenseBackend, found) if hasattr(found, "dense") else None


def backend(regime: Regime) -> Backend:
    """The backend of a regime; imports the library's module only now."""
    own = f"{__name__}.{regime.backend}"
    module = own if "." not in regime.backend and importlib.util.find_spec(own) else regime.backend
    return cast(Backend, importlib.import_module(module))
