"""Simulated regimes on a tiny model: their artifacts are plain checkpoints with the method's weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file  # noqa: E402
from tiny_llama import SIZES, TEXTS, config, model_of, write  # noqa: E402
from transformers import Gemma2Config, GPT2Config, GPTNeoXConfig, OPTConfig, Qwen2Config  # noqa: E402

from pytest_qllm.errors import QllmError  # noqa: E402
from pytest_qllm.regimes import sequential  # noqa: E402
from pytest_qllm.regimes.backends import backend  # noqa: E402
from pytest_qllm.regimes.catalog import BUILTIN, RegimeCatalog  # noqa: E402
from pytest_qllm.regimes.regime import Regime  # noqa: E402
from pytest_qllm.regimes.size import of_artifact  # noqa: E402

NAMES = ("rtn-3bit-g32", "rtn-3bit-g16-sym", "nested-4bit-g32", "spqr-3bit-g8", "slim-2bit-g16")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("tiny") / "model")


def regime_of(name: str, **options: object) -> Regime:
    """A regime of the catalog, calibrated with few tokens."""
    regime = RegimeCatalog().get(name)
    small = {"calibration": {"corpus": "any", "rows": 4, "tokens": 32}} if "calibration" in regime.options else {}
    return replace(regime, options={**regime.options, **small, **options})


def made(regime: Regime, model: Path, into: Path, texts: list[str] = TEXTS) -> Path:
    into.mkdir()
    backend(regime).build(regime, model, texts, 0, into)
    return into


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_the_linear_layers_of_the_blocks_change_and_nothing_else(model, tmp_path, name):
    before, after = weights(model), weights(made(regime_of(name), model, tmp_path / "artifact"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj." in name}
    assert len(changed) == 14


@pytest.mark.parametrize("name", NAMES)
def test_twice_the_same_whatever_torch_s_threads(model, tmp_path, name):
    threads = torch.get_num_threads()
    first = made(regime_of(name), model, tmp_path / "first")
    torch.set_num_threads(2)
    try:
        second = made(regime_of(name), model, tmp_path / "second")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert (first / "layers.json").read_bytes() == (second / "layers.json").read_bytes()


@pytest.mark.parametrize(
    ("name", "levels", "group"),
    [
        *((f"rtn-{bits}bit-g16", 2**bits, 16) for bits in range(1, 5)),
        *((f"rtn-{bits}bit-g32-sym", 2**bits, 32) for bits in (1, 4)),
        ("nested-3bit-g32", 8, 32),
        ("nested-4bit-g32", 16, 32),
        ("spqr-2bit-no-outliers", 4, 16),
    ],
)
def test_each_group_lies_on_few_levels(model, tmp_path, name, levels, group):
    quantized = {
        name: weight
        for name, weight in weights(made(regime_of(name), model, tmp_path / "artifact")).items()
        if "_proj." in name
    }
    for weight in quantized.values():
        counts = [len(one.unique()) for one in weight.reshape(-1, group)]
        assert max(counts) <= levels
        assert max(counts) > levels / 2


@pytest.mark.parametrize("prefix", ["rtn", "nested", "spqr", "slim"])
def test_the_error_falls_with_the_bits(model, tmp_path, prefix):
    before = weights(model)
    regimes = [regime for regime in BUILTIN if regime.name == f"{prefix}-{regime.bits}bit"]
    errors = []
    for regime in sorted(regimes, key=lambda regime: regime.bits):
        after = weights(made(regime_of(regime.name, group_size=16), model, tmp_path / regime.name))
        errors.append(sum(float((before[name] - after[name]).float().square().sum()) for name in before))
    assert len(errors) >= 3
    assert errors == sorted(errors, reverse=True)


def test_blocks_are_calibrated_on_what_the_quantized_ones_before_give():
    model = model_of(config())
    rows = [[(3 + 7 * at * row) % 60 + 3 for at in range(24)] for row in range(1, 5)]
    chosen = sequential.linears(model)
    seen = {}

    def coarse(name, weight, hessian):
        seen[name] = hessian
        return (weight / 0.2).round() * 0.2

    sequential.quantize(model, rows, chosen, coarse)
    assert list(seen) == list(chosen)
    inputs = []
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"):
        hook = model.get_submodule(name).register_forward_pre_hook(lambda _, given: inputs.append(given[0][0]))
        with torch.inference_mode():
            for row in rows:
                model(torch.tensor([row]))
        hook.remove()
        flat = torch.cat(inputs)
        inputs.clear()
        assert torch.allclose(seen[name], flat.T @ flat / len(flat), atol=1e-4)


@pytest.mark.parametrize(
    "family",
    [
        Qwen2Config(**SIZES, num_key_value_heads=2),
        GPTNeoXConfig(**SIZES),
        Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=8, sliding_window=8),
        OPTConfig(
            vocab_size=64,
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
        ),
    ],
    ids=lambda configuration: configuration.model_type,
)
def test_families_keep_their_answers_where_nothing_is_changed(family):
    """Running block by block is running the model: the last block's inputs are those of a plain run."""
    model = model_of(family)
    row = [(5 * at) % 60 + 3 for at in range(24)]
    seen = {}

    def same(name, weight, hessian):
        seen[name] = hessian
        return weight

    chosen = sequential.linears(model)
    sequential.quantize(model, [row], chosen, same)
    last, inputs = list(chosen)[-1], []
    hook = model.get_submodule(last).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.inference_mode():
        model(torch.tensor([row]))
    hook.remove()
    flat = inputs[0].reshape(-1, inputs[0].shape[-1])
    assert torch.allclose(seen[last], flat.T @ flat / len(flat), rtol=1e-3, atol=1e-4)


def test_a_model_without_linear_layers_in_its_blocks_is_refused():
    model = model_of(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    with pytest.raises(QllmError, match="blocks of GPT2LMHeadModel have no linear layers"):
        sequential.linears(model)


def test_modules_to_keep_stay_in_fp16(model, tmp_path):
    regime = regime_of("rtn-2bit-g16", keep=["down_proj", r"layers\.0\..*q_proj"])
    before, after = weights(model), weights(made(regime, model, tmp_path / "artifact"))
    kept = {name for name in before if "_proj." in name and torch.equal(before[name], after[name])}
    assert kept == {
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.0.self_attn.q_proj.weight",
    }


def test_size_counts_all_that_is_not_quantized_with_16_bits(model, tmp_path):
    artifact = made(regime_of("rtn-4bit-g16"), model, tmp_path / "artifact")
    size, account = (json.loads((artifact / name).read_text()) for name in ("size.json", "layers.json"))
    tensors = weights(model)
    quantized = sum(weight.numel() for name, weight in tensors.items() if "_proj." in name)
    everything = sum(weight.numel() for weight in tensors.values())
    assert size["bits_per_weight"] == 4 + 32 / 16
    assert size["model_bits_per_weight"] == pytest.approx((6 * quantized + 16 * (everything - quantized)) / everything)
    assert size["bytes"] == pytest.approx(size["model_bits_per_weight"] * everything / 8)
    assert account["outlier_share"] == 0
    assert len(account["layers"]) == 14


def test_matrices_that_are_kept_count_with_16_bits(model, tmp_path):
    regime = regime_of("rtn-4bit-g16", keep=["down_proj", "up_proj", "gate_proj"])
    size = json.loads((made(regime, model, tmp_path / "artifact") / "size.json").read_text())
    attention, mlp = 2 * (2 * 32 * 32 + 2 * 32 * 16), 2 * 3 * 32 * 64
    assert size["bits_per_weight"] == (6 * attention + 16 * mlp) / (attention + mlp)


def test_outliers_are_told(model, tmp_path):
    artifact = made(regime_of("spqr-2bit-g16"), model, tmp_path / "artifact")
    size = json.loads((artifact / "layers.json").read_text())
    assert 0.01 < size["outlier_share"] < 0.5
    outliers = sum(layer["outliers"] for layer in size["layers"].values())
    count = sum(layer["weights"] for layer in size["layers"].values())
    assert size["outlier_share"] == outliers / count
    assert of_artifact(artifact, {}, 0).to_json()["outlier_share"] == outliers / count


def test_no_outliers_are_no_share(model, tmp_path):
    artifact = made(regime_of("rtn-4bit-g16"), model, tmp_path / "artifact")
    assert "outlier_share" not in of_artifact(artifact, {}, 0).to_json()


@pytest.mark.parametrize(
    ("regime", "words"),
    [
        (
            ("rtn-4bit-g96", {}),
            r"groups of 96 do not divide the 32 inputs of model\.layers\.0\..*; sizes that do: 16, 32",
        ),
        (("slim-3bit-g128", {}), r"groups of 128 do not divide the 32 inputs of model\.layers\.0\."),
        (("spqr-3bit", {"outlier_threshold": -1}), "outlier_threshold has to be above 0"),
        (("spqr-3bit", {"outlier_threshold": "much"}), "outlier_threshold is 'much'; expected int or float"),
        (("spqr-3bit", {"scale_bits": 12}), "scale_bits from 2 to 8, or 16"),
        (("spqr-3bit", {"outliers": "no"}), "outliers is 'no'; expected bool"),
        (("rtn-4bit-g16", {"keep": ["_proj"]}), "keep matches every linear layer"),
        (
            ("spqr-3bit", {"calibration": {"corpus": "any", "rows": 4000, "tokens": 64}}),
            "the calibration corpus has .* tokens; 4000 rows of 64 are needed",
        ),
    ],
)
def test_what_cannot_be_made_is_one_line(model, tmp_path, regime, words):
    with pytest.raises(QllmError, match=words):
        made(regime_of(regime[0], **regime[1]), model, tmp_path / "artifact")


def test_a_group_that_does_not_divide_leaves_a_shorter_one_in_spqr(model, tmp_path):
    """The paper's ablation with groups of 128 has to run on a model of 576 inputs."""
    artifact = made(regime_of("spqr-2bit-g128", group_size=24), model, tmp_path / "artifact")
    assert torch.isfinite(weights(artifact)["model.layers.0.mlp.up_proj.weight"]).all()
