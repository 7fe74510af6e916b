"""Load a checkpoint for computing; the only place that calls transformers' ``from_pretrained`` for dense weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


_CHECKED = ContextVar("_CHECKED", default=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """Within it ``check_finite`` reads no weight: for models that were loaded before, when loading them is timed."""
    token = _CHECKED.set(False)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def load_dense(directory: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A causal language model with plain weights, in evaluation mode.

    Raises:
        QllmError: if transformers cannot load it, or a weight is not finite.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            model, loading = AutoModelForCausalLM.from_pretrained(
                directory, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"transformers cannot load {directory} ({type(error).__name__}: {line})") from error
    absent = sorted(loading["missing_keys"])
    if absent:
        raise QllmError(f"{directory} lacks the weights of {absent[0]} ({len(absent)} in all); fetch or save it again")
    check_finite(model, directory)
    return model.to(device).eval()


def check_finite(model: torch.nn.Module, source: Path) -> None:
    """Refuse weights with NaN or infinity, by name.

    Raises:
        QllmError: names the first such tensor.
    """
    for name, weight in model.named_parameters() if _CHECKED.get() else ():
        plain: torch.Tensor = weight
        if type(weight) is not torch.nn.Parameter and hasattr(weight, "dequantize"):
            plain = weight.dequantize()  # a tensor of a library's own, which knows few operations
        if plain.is_floating_point() and not torch.isfinite(plain).all():
            raise QllmError(f"{source}: the weights of {name} contain NaN or infinity; the checkpoint is broken")


def load_config(directory: Path) -> PretrainedConfig:
    """The configuration of a checkpoint, without its weights.

    Raises:
        QllmError: if transformers cannot load it.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(directory)
    except (OSError, ValueError, KeyError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"transformers cannot load the configuration of {directory} ({line})") from error


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint.

    Raises:
        QllmError: if transformers cannot load it.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(directory)
    except Exception as error:  # tokenizers raises plain Exception for a damaged file
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"cannot load the tokenizer of {directory} ({type(error).__name__}: {line})") from error


def convert_gguf(gguf: Path, into: Path) -> None:
    """Write the dequantized weights of a GGUF file as an FP16 safetensors checkpoint with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(gguf.parent), gguf.name
    with quiet():
        config = GgufConfig(gguf_file=name, dequantize=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, quantization_config=config, dtype=torch.float16
        )
        check_finite(model, gguf)
        model.save_pretrained(into)
        AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(into)
