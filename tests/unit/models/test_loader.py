"""No model is computed with that is not the one in the files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from pytest_qllm.errors import QllmError
from pytest_qllm.models.loader import load_dense


@pytest.fixture
def model(tmp_path) -> Path:
    """A checkpoint of random weights."""
    return saved(tmp_path / "model", tied=False)


def saved(folder: Path, tied: bool) -> Path:
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rewrite(folder: Path, change) -> None:
    """Change the tensors in the checkpoint's file."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(QllmError) as refused:
        load_dense(folder, torch.float32, "cpu")
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_the_weights_are_those_of_the_file(model):
    loaded = load_dense(model, torch.float32, "cpu")
    assert not loaded.training
    tensors = load_file(model / "model.safetensors")
    assert set(tensors) == {name for name, _ in loaded.named_parameters()}
    assert all(torch.equal(weight, tensors[name]) for name, weight in loaded.named_parameters())


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"])
def test_a_missing_tensor_is_refused_where_transformers_would_make_one_up(model, name):
    rewrite(model, lambda tensors: tensors.pop(name))
    assert refusal(model) == f"{model} lacks the weights of {name} (1 in all); fetch or save it again"


def test_of_many_missing_tensors_one_is_named_and_all_are_counted(model):
    def drop_a_layer(tensors) -> None:
        for name in [name for name in tensors if ".layers.0." in name]:
            del tensors[name]

    rewrite(model, drop_a_layer)
    assert "lacks the weights of model.layers.0.input_layernorm.weight (9 in all)" in refusal(model)


def test_an_output_layer_that_is_the_embedding_is_not_missing(tmp_path):
    folder = saved(tmp_path / "tied", tied=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    loaded = load_dense(folder, torch.float32, "cpu")
    assert torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(model, value):
    rewrite(model, lambda tensors: tensors["model.norm.weight"].__setitem__(0, value))
    assert refusal(model).startswith(f"{model}: the weights of model.norm.weight contain NaN or infinity")


def test_a_tensor_of_another_shape_is_refused(model):
    rewrite(model, lambda tensors: tensors.update({"model.norm.weight": torch.ones(9)}))
    assert refusal(model).startswith(f"transformers cannot load {model} (")
