"""The kernel probe of a regime, through the store: it costs two loaded models once."""

from __future__ import annotations

import platform
from typing import Any

from pytest_qllm.compute import processor
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.measure import Laboratory
from pytest_qllm.regimes import checkpoint
from pytest_qllm.regimes.backends import dense_backend
from pytest_qllm.regimes.kernel import VERSION, Figures
from pytest_qllm.regimes.regime import DENSE, Regime
from pytest_qllm.store import digest
from pytest_qllm.workshop import engine_version


def probe(laboratory: Laboratory, regime: Regime) -> tuple[Figures, dict[str, Any]]:
    """The figures, and what decides them.

    Raises:
        UnavailableError: with the reason, if the regime has no kernel, or nothing to compare it with.
        QllmError: if a model cannot be loaded or run, or the comparison would be no evidence.
    """
    regime = regime.base  # an adapter and a cache are no part of the kernel
    reason = _nothing_to_compare(regime, laboratory.compute.device)
    if reason:
        raise UnavailableError(reason)
    identity = _identity(laboratory, regime)
    place = ("kernels", f"{regime.name}-{digest(identity)}")
    found = laboratory.store.read(*place)
    if found is None:
        with laboratory.store.lock("-".join(place)):
            found = laboratory.store.read(*place)
            if found is None:
                found = _run(laboratory, regime).to_json()
                laboratory.store.write(found, *place)
    return Figures.from_json(found), identity


def _nothing_to_compare(regime: Regime, device: str) -> str:
    if regime.is_baseline:
        return f"{regime.name} is not quantized: it has no kernel to compare with its weights"
    if regime.simulated:
        return f"{regime.name} is simulated: no kernel multiplies its quantized weights"
    if checkpoint.dequantized(regime, device):
        return f"{regime.name} has no kernel here: transformers dequantizes {regime.method} on {device}"
    if not regime.weight_only:
        return (
            f"{regime.method} quantizes activations: no dense weights say what its kernel should compute, and its "
            "quality is scored on its real path"
        )
    try:
        has_shadow = dense_backend(regime) is not None
    except ImportError as error:
        raise QllmError(f"the backend of {regime.name} cannot be imported: {error}") from error
    return "" if has_shadow else f"{regime.backend} has no `dense`: {regime.name} is scored through its real kernel"


def _identity(laboratory: Laboratory, regime: Regime) -> dict[str, Any]:
    """What decides the figures. Libraries choose their kernel by the processor, too."""
    return {
        "weights": laboratory.checkpoint.weights,
        "tokenizer": laboratory.checkpoint.tokenizer,
        "regime": laboratory.recipe(regime),
        "dtype": laboratory.compute.dtype,
        "device": laboratory.compute.device.split(":")[0],
        "machine": platform.machine(),
        "processor": processor(laboratory.compute.device),
        "engine": engine_version(),
        "probe": VERSION,
        "dense": DENSE,
    }


def _run(laboratory: Laboratory, regime: Regime) -> Figures:
    try:
        from pytest_qllm.models.loader import load_tokenizer
        from pytest_qllm.regimes.probe import probe as run
    except ImportError as error:
        raise UnavailableError(f"models need {error.name}: pip install 'pytest-qllm[model]'") from None
    laboratory.forget()
    laboratory.store.progress(f"comparing the kernel of {regime.name} with its weights (once)")
    try:
        return run(
            lambda: laboratory.load(regime, "dense"),
            lambda: laboratory.load(regime, "exact"),
            load_tokenizer(laboratory.checkpoint.path),
        )
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"the kernel of {regime.name} cannot run ({type(error).__name__}: {line})") from error
