"""Write an FP16 checkpoint as a GGUF file, tensor by tensor, without changing a weight.

Matrices keep their dtype, vectors become float32, as llama.cpp wants them. The file has no vocabulary: the engine's
tokens come from the checkpoint's own tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

ARCHITECTURES = {
    "LlamaForCausalLM": "LLAMA",
    "MistralForCausalLM": "LLAMA",
    "Qwen2ForCausalLM": "QWEN2",
    "Qwen3ForCausalLM": "QWEN3",
}
"""From transformers' names to gguf's."""


def convert(model: Path, file: Path) -> None:
    """Write the safetensors checkpoint at ``model`` to ``file``.

    Raises:
        QllmError: if it is of an architecture, or has a setting, that this conversion does not know.
    """
    import gguf
    import torch

    from pytest_qllm.models.loader import load_config

    config = load_config(model)
    architecture = _architecture(config, model)
    arch = gguf.MODEL_ARCH[architecture]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[arch])
    _add_metadata(writer, config)
    factors = _rope_factors(config, architecture, model)
    kinds = {
        torch.float16: gguf.GGMLQuantizationType.F16,
        torch.bfloat16: gguf.GGMLQuantizationType.BF16,
        torch.float32: gguf.GGMLQuantizationType.F32,
    }

    def tensors() -> Iterator[tuple[str, torch.Tensor]]:
        if factors is not None:
            yield "rope_freqs.weight", factors
        for name, tensor in _checkpoint_tensors(model):
            if name == "lm_head.weight" and config.tie_word_embeddings:
                continue
            if name.endswith(".rotary_emb.inv_freq"):  # old checkpoints keep what the configuration says
                continue
            if tensor.dtype not in kinds:
                raise QllmError(f"{model}: {name} is of {tensor.dtype}; expected an FP16, BF16 or FP32 checkpoint")
            known = names.get_name(name, try_suffixes=(".weight", ".bias"))
            if known is None:
                raise QllmError(f"{model}: GGUF has no place for {name} in the architecture {architecture.lower()}")
            if architecture == "LLAMA":
                tensor = _interleaved(name, tensor, config)
            yield known, tensor if tensor.ndim > 1 else tensor.float()

    for name, tensor in tensors():
        writer.add_tensor_info(name, tensor.shape, None, tensor.nbytes, raw_dtype=kinds[tensor.dtype])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, tensor in tensors():
        writer.write_tensor_data(tensor.contiguous().view(torch.uint8).numpy())
    writer.close()


def _architecture(config: PretrainedConfig, model: Path) -> str:
    given = (config.architectures or ["no architecture"])[0]
    if given not in ARCHITECTURES:
        raise QllmError(f"{model} is a {given}; the conversion to GGUF knows {', '.join(ARCHITECTURES)}")
    if config.hidden_act not in ("silu", "swish"):
        raise QllmError(f"{model}: llama.cpp computes a {given} with silu, the model has {config.hidden_act}")
    window = getattr(config, "sliding_window", None)
    has_window = getattr(config, "use_sliding_window", True) is not False
    if window and has_window and window < config.max_position_embeddings:
        raise QllmError(
            f"{model} has a sliding window of {window} tokens, which llama.cpp's {ARCHITECTURES[given].lower()} "
            "does not compute"
        )
    return ARCHITECTURES[given]


def _add_metadata(writer: Any, config: PretrainedConfig) -> None:
    heads = config.num_attention_heads
    head_size = _head_size(config)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", None) or heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("no_vocab")


def _rope_factors(config: PretrainedConfig, architecture: str, model: Path) -> torch.Tensor | None:
    """What llama.cpp divides each frequency by, shape (head size / 2,); None where all are as the base says.

    Raises:
        QllmError: for scaling that depends on the text's length, or that llama.cpp does in another way.
    """
    import torch
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        return None
    if kind not in ("linear", "llama3") or architecture != "LLAMA":
        raise QllmError(
            f"{model} scales its positions by {kind!r}, which the conversion to GGUF does not know; it knows linear "
            "and llama3, of the llama architecture"
        )
    frequencies: torch.Tensor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))[0]
    size = _head_size(config)
    exponents = -torch.arange(0, size, 2, dtype=torch.float32) / size
    return torch.tensor(config.rope_parameters["rope_theta"]).pow(exponents) / frequencies


def _interleaved(name: str, tensor: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """Rows of a query or key projection in the order in which llama.cpp's llama rotates them: in neighbouring pairs.

    transformers pairs the first half of a head's rows with the second.
    """
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = next((count for part, count in heads.items() if f".{part}." in name), None)
    if found is None:
        return tensor
    halves = tensor.reshape(found, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _head_size(config: PretrainedConfig) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _checkpoint_tensors(model: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="pt") as content:
            for name in content.keys():  # noqa: SIM118 (no mapping)
                yield name, content.get_tensor(name)
