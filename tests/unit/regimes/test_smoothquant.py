"""SmoothQuant moves outliers into the weights and changes nothing that the model computes."""

from __future__ import annotations

import pytest
import torch
from transformers import GemmaConfig, GemmaForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.smoothquant import smooth

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.fixture
def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(64, (3, 20), generator=generator) for _ in range(2)]


@pytest.fixture
def model() -> LlamaForCausalLM:
    """With one channel of the first norm's output a hundred times as large as the others."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    model.model.layers[0].input_layernorm.weight.data[5] = 100.0
    return model


def inputs_of(layer: torch.nn.Module, model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    """Largest absolute value of each channel."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].abs().flatten(0, -2).amax(0)))
    with torch.no_grad():
        model(input_ids=batch)
    hook.remove()
    return seen[0]


def test_the_model_computes_the_same_with_smaller_outliers(model, batches):
    layer = model.model.layers[0].self_attn.q_proj
    with torch.no_grad():
        before = model(input_ids=batches[0]).logits
    outliers = inputs_of(layer, model, batches[0])
    smooth(model, batches, 0.5)
    with torch.no_grad():
        after = model(input_ids=batches[0]).logits
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))
    smoothed = inputs_of(layer, model, batches[0])
    assert outliers[5] / outliers.median() > 50
    assert smoothed[5] / smoothed.median() < 0.3 * outliers[5] / outliers.median()


def test_the_factors_are_those_of_the_paper(model, batches):
    """Equation 4: after it, with alpha 0.5, a channel's largest activation and its largest weight are equal."""
    smooth(model, batches, 0.5)
    block = model.model.layers[0]
    largest = torch.stack([layer.weight.abs().amax(0) for layer in (block.mlp.gate_proj, block.mlp.up_proj)]).amax(0)
    seen = torch.stack([inputs_of(block.mlp.up_proj, model, batch) for batch in batches]).amax(0)
    assert torch.allclose(seen, largest, rtol=1e-3)


def test_what_no_norm_feeds_stays_as_it_is(model, batches):
    before = model.model.layers[1].mlp.down_proj.weight.clone()
    smooth(model, batches, 0.5)
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, before)


def test_norms_that_are_built_otherwise_are_refused(batches):
    """Gemma's multiply by one plus their weights."""
    gemma = GemmaForCausalLM(GemmaConfig(**SIZES, head_dim=8)).eval()
    with pytest.raises(QllmError, match="SmoothQuant changes what GemmaForCausalLM computes"):
        smooth(gemma, batches, 0.5)


def test_another_architecture_is_refused(batches):
    with pytest.raises(QllmError, match="SmoothQuant is not known for GPT2LMHeadModel"):
        smooth(GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4)).eval(), batches, 0.5)
