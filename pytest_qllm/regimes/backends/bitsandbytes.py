"""LLM.int8(), NF4 and FP4 by bitsandbytes, through transformers' integration.

LLM.int8() (Dettmers et al., 2022, arXiv 2208.07339) takes the columns of a *batch's* activations above a threshold out
of the 8-bit product. So a score depends on what else is in its batch; the engine's batches depend on the items alone,
which makes it the same on every run.

Every linear layer but the output head is quantized, as transformers' integration does it.

NF4 and FP4 store weights only: blocks of 64 codes of 4 bits, each with the block's largest absolute value.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.quiet import quiet
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def _method(prefix: str, name: str, bits: int, **fields: Any) -> Method:
    return Method(prefix, name, "bitsandbytes", (bits,), "bitsandbytes", "bitsandbytes", keeps=True, **fields)


METHODS = (
    _method("bnb-int8", "LLM.int8()", 8, weight_only=False, options={"outlier_threshold": 6.0}),
    _method("bnb-nf4", "NF4", 4, group=64),
    _method("bnb-fp4", "FP4", 4, group=64),
)
REGIMES = tuple(method.regime(method.widths[0], name=method.prefix) for method in METHODS)


def build(regime: Regime, model: Path, calibration: Sequence[str], seed: int, into: Path) -> None:
    """Quantize while loading, and save; bitsandbytes needs no calibration."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from pytest_qllm.regimes.layers import kept_of

    options: dict[str, Any]
    if regime.bits == 8:
        options = {"load_in_8bit": True, "llm_int8_threshold": regime.options["outlier_threshold"]}
    else:
        options = {"load_in_4bit": True, "bnb_4bit_quant_type": regime.method.lower()}
    left = kept_of(regime, model)
    if left:  # given any, it leaves only these
        options["llm_int8_skip_modules"] = [*left, "lm_head"]
    with quiet():
        quantized = AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float16, quantization_config=BitsAndBytesConfig(**options)
        )
        quantized.save_pretrained(into)
        AutoTokenizer.from_pretrained(model).save_pretrained(into)


def load(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The artifact with its real kernels; 4-bit weights are multiplied in ``dtype``, 8-bit ones as the method says."""
    from transformers import AutoModelForCausalLM
    from transformers.quantizers.auto import AutoQuantizationConfig

    from pytest_qllm.models.loader import check_finite

    # It tells of a cast to float16 at every matrix product; the cast is part of the method.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with quiet():
        config = AutoQuantizationConfig.from_pretrained(artifact)
        config.bnb_4bit_compute_dtype = dtype
        model = AutoModelForCausalLM.from_pretrained(
            artifact, dtype=dtype, device_map=device, quantization_config=config, use_safetensors=True
        )
    # transformers leaves what is not quantized in the artifact's float16, whatever dtype it is asked for.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = dtype
    check_finite(model, artifact)
    return model.eval()


def dense(artifact: Path, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The artifact's 4-bit codes looked up and scaled, without the library's dequantizer: its CPU kernel uses that."""
    from bitsandbytes.nn import Linear4bit

    from pytest_qllm.regimes.shadow import replace_linears

    model = load(artifact, dtype, device)
    replace_linears(model, lambda _, module: effective(module).to(dtype) if isinstance(module, Linear4bit) else None)
    del model.config.quantization_config, model.hf_quantizer
    model.is_quantized = False
    return model


def effective(layer: Any) -> torch.Tensor:
    """The weights of a ``Linear4bit``, shape (out features, in features), float32 as its kernel scales them.

    Two codes to a byte, the first in the high half (Dettmers et al., 2023, arXiv 2305.14314, section 3).
    """
    import torch
    from bitsandbytes.functional import dequantize_blockwise

    state = layer.weight.quant_state
    scales = state.absmax
    if state.nested:  # the scales are quantized too, to 8 bits
        scales = dequantize_blockwise(scales, state.state2) + state.offset
    packed = layer.weight.data.view(torch.uint8).flatten()
    codes = torch.stack((packed >> 4, packed & 15), dim=-1).flatten()[: state.shape.numel()]
    scale = scales.float().repeat_interleave(state.blocksize)[: codes.numel()]
    weights: torch.Tensor = state.code.float()[codes.long()] * scale
    return weights.reshape(state.shape)
