"""One module for each quantization library; each has ``build`` and ``load`` (see ``Backend``)."""

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
    """What a quantization library has to offer."""

    def build(self, regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
        """Quantize the FP16 checkpoint at ``model`` and save the artifact in the empty directory ``into``.

        ``calibration`` are texts, empty for methods that need none.
        """

    def load(self, artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
        """The quantized model in evaluation mode, computing in ``dtype``."""


def backend(regime: Regime) -> Backend:
    """The backend of a regime; imports the library's module only now."""
    own = f"{__name__}.{regime.backend}"
    module = own if "." not in regime.backend and importlib.util.find_spec(own) else regime.backend
    return cast(Backend, importlib.import_module(module))
