"""GGUF file types by llama.cpp, through llama-cpp-python: quantized and scored by llama.cpp itself.

On a CPU its kernels round the activations, too, to 8 bits in blocks of 32 (256 for the K types): no dense weights say
what they compute. Types that need an importance matrix (IQ1, IQ2, IQ3_XXS, IQ3_XS, Q2_K_S) are not offered. A K type
has blocks of 256 weights; a matrix whose width is no multiple of that gets another type of about its width, and some
layers get more bits by design: the effective bits tell.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.regimes import gguf_file
from pytest_qllm.regimes.gguf_file import describe_gguf, nominal_bits
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import Size

if TYPE_CHECKING:
    from pytest_qllm.engine.llama_engine import LlamaEngine

__all__ = ["REGIMES", "build", "describe_gguf", "engine", "size"]

TYPES = (
    "q2_k",
    "q3_k_s",
    "q3_k_m",
    "q3_k_l",
    "iq3_s",
    "iq3_m",
    "q4_0",
    "q4_1",
    "q4_k_s",
    "q4_k_m",
    "iq4_xs",
    "iq4_nl",
    "q5_0",
    "q5_1",
    "q5_k_s",
    "q5_k_m",
    "q6_k",
    "q8_0",
)

_FILE = "model.gguf"


def _regime(name: str) -> Regime:
    return Regime(
        f"gguf-{name}",
        f"GGUF {name.upper()}",
        nominal_bits(name.upper()),
        "llama_cpp",
        "llama_cpp",
        "llama",
        weight_only=False,
        options={"type": name.upper()},
    )


REGIMES = tuple(_regime(name) for name in TYPES)


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Convert the checkpoint to GGUF without changing a weight, and quantize that by ``llama_model_quantize``."""
    import gguf
    import llama_cpp

    from pytest_qllm.engine.llama_runner import complaints
    from pytest_qllm.regimes.gguf_convert import convert

    source = into / "source.gguf"
    convert(model, source)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = gguf.LlamaFileType[f"MOSTLY_{regime.options['type']}"]
    with complaints() as said:
        status = llama_cpp.llama_model_quantize(bytes(source), bytes(into / _FILE), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(said[-1] if said else f"llama_model_quantize returned {status}")
    source.unlink()


def engine(artifact: Path, model: Path, threads: int) -> LlamaEngine:
    """llama.cpp with a GGUF file, or the one in a directory; it answers in tokens of the checkpoint at ``model``.

    Raises:
        QllmError: if llama.cpp cannot load it, or it is no quantization of that checkpoint's architecture.
    """
    from pytest_qllm.engine.llama_engine import LlamaEngine

    return LlamaEngine(gguf_file.files(artifact)[0], model, threads)


def size(artifact: Path) -> Size:
    """What the quantized model weighs, by its own header."""
    return gguf_file.size(artifact)
