"""A random model of two blocks with its tokenizer, on disk: what quantizing does to it is known by construction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

WORDS = 60
TEXTS = [" ".join(f"w{(start * at + at) % WORDS}" for at in range(40)) for start in range(1, 30)]
"""Enough for some rows of tokens."""

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def config() -> LlamaConfig:
    return LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=False)


def model_of(configuration: Any) -> Any:
    """In float32, with weights large enough that a quantized one answers differently."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(configuration).eval()
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data = 0.2 * torch.randn(weight.shape)
    return model


def write(directory: Path) -> Path:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{at}": at + 3 for at in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(directory)
    model_of(config()).half().save_pretrained(directory)
    return directory
