"""LLM.int8(), NF4 and FP4 by bitsandbytes, through transformers' integration.

LLM.int8() (Dettmers et al., 2022, arXiv 2208.07339) takes the columns of a *batch's* activations above a threshold out
of the 8-bit product. So a score depends on what else is in its batch; the engine's batches depend on the items alone,
which makes it the same on every run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pytest_qllm.models.loader import check_finite
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize while loading, and save; bitsandbytes needs no calibration."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    options: dict[str, Any]
    if regime.bits == 8:
        options = {"load_in_8bit": True, "llm_int8_threshold": regime.options["outlier_threshold"]}
    else:
        options = {"load_in_4bit": True, "bnb_4bit_quant_type": regime.method.lower()}
    with quiet():
        quantized = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float16, quantization_config=BitsAndBytesConfig(**options)
        )
        quantized.save_pretrained(into)
        AutoTokenizer.from_pretrained(model).save_pretrained(into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The artifact with its real kernels; 4-bit weights are multiplied in ``dtype``."""
    from transformers import AutoModelForCausalLM
    from transformers.quantizers.auto import AutoQuantizationConfig

    # It tells of a cast to float16 at every matrix product; the cast is part of the method.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with quiet():
        config = AutoQuantizationConfig.from_pretrained(artifact)
        config.bnb_4bit_compute_dtype = dtype
        model = AutoModelForCausalLM.from_pretrained(
            artifact, dtype=dtype, device_map=device, quantization_config=config, use_safetensors=True
        )
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype
    check_finite(model, artifact)
    return model.eval()
