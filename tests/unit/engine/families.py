"""Tiny random models of many families, a tokenizer that they share, and what transformers makes of a request alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from pytest_qllm.engine.encoding import Encoder
from pytest_qllm.engine.engine import Continuation, Generation

MAX_LENGTH = 256
WINDOW = 64
PRINTABLE = (10, *range(32, 127))

SHOTS = "question: a b c? answer: yes\n\n"
"""What the contexts of all items begin with; 30 tokens, with a context and a continuation fewer than ``WINDOW``."""


def tokenizer_of(
    words: Sequence[str] = (),
    characters: Sequence[int] = PRINTABLE,
    model_max_length: int = MAX_LENGTH,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a token for each of these bytes, and for each of these words.

    A word is merged from the left, or from two parts that a bar tells apart; earlier words are merged first.
    """
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    symbols = _byte_symbols()
    vocabulary = ["<pad>", "<s>", "</s>", *(symbols[byte] for byte in characters)]
    merges: list[tuple[str, str]] = []
    for word in words:
        head, _, tail = ("".join(symbols[byte] for byte in part) for part in word.encode().partition(b"|"))
        pairs = [(head, tail)] if tail else [(head[:end], head[end]) for end in range(1, len(head))]
        merges += [pair for pair in pairs if pair not in merges]
    vocabulary += ["".join(pair) for pair in merges]
    tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(vocabulary)}, merges=merges))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )


def _byte_symbols() -> dict[int, str]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's table)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + at) for at, byte in enumerate(hidden)}


def random_model(config: Any, seed: int = 0) -> PreTrainedModel:
    """A model with random weights and biases, which does not end its text by itself."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=generator)
        weight.data = 0.3 * noise if weight.ndim > 1 else weight.data + 0.1 * noise
    model.generation_config.eos_token_id = None
    return model


_TOKENS = {"vocab_size": 3 + len(PRINTABLE), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SIZES = _TOKENS | {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_COMMON = _SIZES | {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": MAX_LENGTH}
_GPT = _TOKENS | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": MAX_LENGTH}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}


class Packing(Enum):
    """What ``TorchEngine.difference`` finds."""

    EQUAL = "the model can be packed"
    REFUSED = "the model's attention is not exchangeable, or asks for what ours does not do"
    WRONG = "the model runs, and its scores are others"


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        name: of the test.
        config: the name of its class in transformers.
        packing: what is found of it.
        window: the length from which on its attention does not see everything, if it has one.
        fields: of the config.
    """

    name: str
    config: str
    packing: Packing
    fields: dict[str, Any]
    window: int | None = None

    def model(self) -> PreTrainedModel:
        return random_model(getattr(transformers, self.config)(**self.fields))


def _packed(name: str, config: str, fields: dict[str, Any] = _COMMON, **others: Any) -> Family:
    window = WINDOW if "sliding_window" in others else None
    return Family(name, config, Packing.EQUAL, fields | others, window)


def _refused(name: str, config: str, fields: dict[str, Any] = _COMMON, **others: Any) -> Family:
    return Family(name, config, Packing.REFUSED, fields | others)


LLAMA = _packed("llama", "LlamaConfig")

FAMILIES = (
    LLAMA,
    _packed("qwen2", "Qwen2Config"),
    _packed("qwen2-window", "Qwen2Config", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1),
    _packed("qwen3", "Qwen3Config", head_dim=8),
    _packed("mistral", "MistralConfig", sliding_window=WINDOW),
    _packed("gemma", "GemmaConfig", head_dim=16),
    _packed(
        "gemma2",
        "Gemma2Config",
        head_dim=8,
        sliding_window=WINDOW,
        attn_logit_softcapping=5.0,
        query_pre_attn_scalar=16,
        tie_word_embeddings=False,
    ),
    _packed(
        "gemma3",
        "Gemma3TextConfig",
        head_dim=8,
        sliding_window=WINDOW,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention"],
        tie_word_embeddings=False,
    ),
    _packed("cohere", "CohereConfig"),
    _packed("cohere2", "Cohere2Config", sliding_window=WINDOW),
    _packed("gpt2", "GPT2Config", _GPT),
    _packed("gpt2-scaled", "GPT2Config", _GPT, scale_attn_by_inverse_layer_idx=True),
    _packed("gpt-neox", "GPTNeoXConfig", _COMMON),
    _packed("opt", "OPTConfig", _SIZES, ffn_dim=64, max_position_embeddings=MAX_LENGTH, word_embed_proj_dim=32),
    _packed("phi", "PhiConfig"),
    _packed("phi3", "Phi3Config"),
    _packed("mixtral", "MixtralConfig", num_local_experts=4),
    _packed("qwen2-moe", "Qwen2MoeConfig", **_EXPERTS, moe_intermediate_size=32, shared_expert_intermediate_size=32),
    _packed("olmoe", "OlmoeConfig", **_EXPERTS),
    _packed(
        "granite",
        "GraniteConfig",
        logits_scaling=3.0,
        attention_multiplier=0.2,
        residual_multiplier=0.5,
        embedding_multiplier=2.0,
    ),
    _packed("smollm3", "SmolLM3Config", no_rope_layers=[1, 0]),
    _packed(
        "deepseek-v3",
        "DeepseekV3Config",
        _COMMON | {"num_key_value_heads": 4},
        moe_intermediate_size=32,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        kv_lora_rank=16,
        q_lora_rank=16,
        qk_rope_head_dim=8,
        qk_nope_head_dim=8,
        v_head_dim=12,
        first_k_dense_replace=1,
    ),
    _refused("bloom", "BloomConfig", _TOKENS, hidden_size=32, n_layer=2, n_head=4),
    _refused("falcon-alibi", "FalconConfig", _SIZES, alibi=True),
    _refused("falcon-rotary", "FalconConfig", _SIZES),
    _refused("gptj", "GPTJConfig", _GPT, rotary_dim=8),
    _refused(
        "gpt-neo",
        "GPTNeoConfig",
        _TOKENS,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=WINDOW,
        max_position_embeddings=MAX_LENGTH,
    ),
    _refused("gpt-oss", "GptOssConfig", head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=WINDOW),
    _refused(
        "llama4",
        "Llama4TextConfig",
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        intermediate_size_mlp=64,
        attention_chunk_size=WINDOW,
    ),
    _refused("mamba", "MambaConfig", _TOKENS, hidden_size=32, num_hidden_layers=2, state_size=4),
    _refused(
        "jamba",
        "JambaConfig",
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        mamba_d_state=4,
        use_mamba_kernels=False,
    ),
    Family("bamba", "BambaConfig", Packing.WRONG, _COMMON | _MAMBA2 | {"attn_layer_indices": [0]}),
    Family("falcon-h1", "FalconH1Config", Packing.WRONG, _COMMON | _MAMBA2 | {"mamba_d_ssm": 64}),
)


@torch.inference_mode()
def loglikelihoods(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, items: Sequence[Sequence[Continuation]]
) -> list[float]:
    """By transformers alone: each request by itself, the whole model, no cache."""
    encoder = Encoder(tokenizer, model.config)
    results = []
    for item in items:
        for request in item:
            one = encoder.continuation(request)
            logits = model(input_ids=torch.tensor([one.inputs], device=model.device), use_cache=False).logits[0]
            logprobs = logits[-len(one.targets) :].float().log_softmax(-1)
            results.append(float(sum(logprobs[at, target] for at, target in enumerate(one.targets))))
    return results


def generated_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, request: Generation, **options: Any
) -> list[int]:
    """By transformers' ``generate``, a prompt at a time."""
    ids = tokenizer(request.context, return_tensors="pt").input_ids.to(model.device)
    if request.temperature:
        options |= {"do_sample": True, "temperature": request.temperature}
        options |= {"top_k": request.top_k, "top_p": request.top_p}
    else:
        options |= {"do_sample": False}
    if request.until:
        options |= {"stop_strings": list(request.until), "tokenizer": tokenizer}
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        made = model.generate(ids, max_new_tokens=request.limit, pad_token_id=0, **options)
    return made[0, ids.shape[1] :].tolist()
