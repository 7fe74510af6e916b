"""The probe finds what is wrong with a kernel, in whatever layer, and forgives it half precision."""

from __future__ import annotations

import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn
from torch.nn.functional import linear
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import probe as module
from pytest_qllm.regimes.probe import probe


class Kernel(nn.Linear):
    """A kernel as libraries have them: it multiplies in its own precision."""

    precision = torch.float32

    def forward(self, values):
        return linear(values.to(self.precision), self.weight.to(self.precision), self.bias).to(values.dtype)


class SlipsOnOneToken(Kernel):
    """Right for batches, wrong where a single token is decoded."""

    def forward(self, values):
        result = super().forward(values)
        return result if values.shape[1] > 1 else 1.1 * result


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {symbol: at for at, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    one_byte_one_token = Tokenizer(models.BPE(vocabulary, []))
    one_byte_one_token.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    one_byte_one_token.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=one_byte_one_token)


@pytest.fixture(scope="module")
def shadow() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()


LAYERS = [
    f"model.layers.{layer}.{part}"
    for layer in range(2)
    for part in (
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    )
]


def with_kernels(shadow: nn.Module, kernel: type[Kernel] = Kernel, precision: torch.dtype = torch.float32) -> nn.Module:
    model = copy.deepcopy(shadow)
    for name in LAYERS:
        layer = model.get_submodule(name)
        layer.__class__ = kernel
        layer.precision = precision
    return model


def found(shadow, exact, tokenizer):
    return probe(lambda: copy.deepcopy(shadow), lambda: exact, tokenizer)


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_sound_kernel_agrees_in_any_precision(shadow, tokenizer, precision):
    figures = found(shadow, with_kernels(shadow, precision=precision), tokenizer)
    assert figures.fault() == ""
    assert (figures.layers, figures.faulty, figures.texts) == (len(LAYERS), 0, len(module.TEXTS))
    assert figures.tokens == sum(min(len(text), module.MAX_TOKENS) for text in module.TEXTS)
    assert figures.noise.mean < 1e-5 < figures.rounding.mean
    assert figures.worst < {torch.float32: 1e-2, torch.float16: 0.3, torch.bfloat16: 1.5}[precision]


def scaled(weight):
    weight *= 1.05


def two_channels_swapped(weight):
    weight[[1, 2]] = weight[[2, 1]]


def a_group_lost(weight):
    weight[:, -16:] = 0


def neighbours_swapped(weight):
    weight.copy_(weight.reshape(len(weight), -1, 2).flip(-1).reshape(weight.shape))


def not_a_number(weight):
    weight[0, 0] = float("nan")


@pytest.mark.parametrize("sabotage", [scaled, two_channels_swapped, a_group_lost, neighbours_swapped, not_a_number])
@pytest.mark.parametrize("name", [LAYERS[0], LAYERS[3], LAYERS[11], LAYERS[13]])
def test_one_layer_s_fault_is_found_in_that_layer(shadow, tokenizer, name, sabotage):
    """In a kernel that multiplies in bfloat16, whose own rounding could hide it."""
    exact = with_kernels(shadow, precision=torch.bfloat16)
    with torch.no_grad():
        sabotage(exact.get_submodule(name).weight)
    figures = found(shadow, exact, tokenizer)
    assert figures.fault()
    assert (figures.faulty, figures.worst_layer) == (1, name)


def test_a_fault_of_decoding_alone_is_found(shadow, tokenizer):
    figures = found(shadow, with_kernels(shadow, SlipsOnOneToken), tokenizer)
    assert figures.faulty == len(LAYERS)
    assert figures.fault()


class Renamed(nn.Module):
    """A library's own model, whose layers have other names than the shadow's."""

    def __init__(self, inner: LlamaForCausalLM) -> None:
        super().__init__()
        self.inner, self.dtype, self.device = inner, inner.dtype, inner.device

    def forward(self, **inputs):
        return self.inner(**inputs)


def test_layers_of_other_names_are_told_by_the_logits(shadow, tokenizer):
    exact = with_kernels(shadow)
    sound = found(shadow, Renamed(exact), tokenizer)
    assert (sound.fault(), sound.layers, sound.worst_layer, sound.worst) == ("", 0, "", None)
    with torch.no_grad():
        neighbours_swapped(exact.get_submodule(LAYERS[-1]).weight)
    assert found(shadow, Renamed(exact), tokenizer).fault() == "its logits differ by more than rounding explains"


def test_a_model_that_is_not_quantized_is_no_evidence(shadow, tokenizer):
    with pytest.raises(QllmError, match="no layer of the model with the real kernels is quantized"):
        found(shadow, copy.deepcopy(shadow), tokenizer)


def test_a_shadow_that_gives_nan_is_no_evidence(shadow, tokenizer):
    broken = copy.deepcopy(shadow)
    with torch.no_grad():
        not_a_number(broken.lm_head.weight)
    with pytest.raises(QllmError, match="the dense weights themselves give NaN"):
        found(broken, with_kernels(shadow), tokenizer)


def test_a_model_whose_layers_say_nothing_is_no_evidence(shadow, tokenizer):
    silent = copy.deepcopy(shadow)
    with torch.no_grad():
        silent.lm_head.weight.zero_()
    with pytest.raises(QllmError, match="changes no logit"):
        found(silent, with_kernels(silent), tokenizer)


def test_one_model_is_in_memory_at_a_time(shadow, tokenizer):
    import weakref

    loaded: list[weakref.ref[nn.Module]] = []

    def load_dense() -> nn.Module:
        model = copy.deepcopy(shadow)
        loaded.append(weakref.ref(model))
        return model

    def load_exact() -> nn.Module:
        assert loaded[0]() is None
        return with_kernels(shadow)

    assert probe(load_dense, load_exact, tokenizer).fault() == ""


def test_the_same_figures_every_time(shadow, tokenizer):
    exact = with_kernels(shadow, precision=torch.bfloat16)
    assert found(shadow, exact, tokenizer) == found(shadow, exact, tokenizer)
