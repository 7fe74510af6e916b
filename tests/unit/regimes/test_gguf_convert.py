"""A checkpoint written as GGUF keeps every weight, and what the conversion does not know is refused by name."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
gguf = pytest.importorskip("gguf")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from pytest_qllm.errors import QllmError  # noqa: E402
from pytest_qllm.regimes.gguf_convert import convert  # noqa: E402

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def saved(directory, kind="Llama", dtype=torch.float16, **fields):
    config = getattr(transformers, f"{kind}Config")(**SIZES | fields)
    transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(directory)
    return directory


@pytest.mark.parametrize(("dtype", "name"), [(torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float32, "F32")])
def test_every_weight_is_kept(tmp_path, dtype, name):
    convert(saved(tmp_path, dtype=dtype), tmp_path / "model.gguf")
    written = {one.name: one for one in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    weights = load_file(tmp_path / "model.safetensors")
    assert len(written) == len(weights)
    assert {one.tensor_type.name for one in written.values()} == {name, "F32"}
    for own, theirs in (
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output.weight", "lm_head.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
    ):
        values = gguf.quants.dequantize(written[own].data, written[own].tensor_type)
        assert torch.equal(torch.tensor(values), weights[theirs].float())


def test_pairs_that_are_rotated_together_become_neighbours(tmp_path):
    convert(saved(tmp_path, dtype=torch.float32), tmp_path / "model.gguf")
    (written,) = (one for one in gguf.GGUFReader(tmp_path / "model.gguf").tensors if one.name == "blk.0.attn_k.weight")
    weight = load_file(tmp_path / "model.safetensors")["model.layers.0.self_attn.k_proj.weight"]
    order = [head * 8 + half * 4 + at for head in range(2) for at in range(4) for half in range(2)]
    assert torch.equal(torch.tensor(written.data), weight[order])


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        ("GPTNeoX", {}, "is a GPTNeoXForCausalLM; the conversion to GGUF knows LlamaForCausalLM, MistralForCausalLM"),
        ("Mistral", {"sliding_window": 64}, "has a sliding window of 64 tokens, which llama.cpp's llama does not"),
        ("Llama", {"hidden_act": "gelu"}, "computes a LlamaForCausalLM with silu, the model has gelu"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4}},
            "scales its positions by 'yarn', which the conversion to GGUF does not know",
        ),
        (
            "Qwen2",
            {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
            "scales its positions by 'linear', which the conversion to GGUF does not know",
        ),
    ],
    ids=["architecture", "window", "activation", "yarn", "qwen2-linear"],
)
def test_what_it_does_not_know_is_refused(tmp_path, kind, fields, why):
    with pytest.raises(QllmError, match=why):
        convert(saved(tmp_path, kind, **fields), tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_a_checkpoint_that_is_quantized_already_is_refused(tmp_path):
    from safetensors.torch import save_file

    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].to(torch.int8)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(QllmError, match=r"mlp.up_proj.weight is of torch.int8; expected an FP16, BF16 or FP32"):
        convert(tmp_path, tmp_path / "model.gguf")


def test_a_tensor_that_gguf_has_no_place_for_is_refused(tmp_path):
    from safetensors.torch import save_file

    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors") | {"model.layers.0.self_attn.gate": torch.zeros(2)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(QllmError, match=r"GGUF has no place for model.layers.0.self_attn.gate"):
        convert(tmp_path, tmp_path / "model.gguf")


def test_files_of_buffers_that_the_configuration_tells_are_no_tensors(tmp_path):
    from safetensors.torch import save_file

    saved(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, tmp_path / "model.safetensors")
    convert(tmp_path, tmp_path / "model.gguf")
    assert len(gguf.GGUFReader(tmp_path / "model.gguf").tensors) == len(weights)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
