"""--qllm-model: what is gated, and what is said of a model that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import Suite, assert_refused

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")


def test_a_directory_is_gated(suite: Suite) -> None:
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    assert suite.outcomes == {("bnb-int8", "lambada"): "PASS", ("bnb-nf4", "lambada"): "FAIL"}
    assert suite.verdicts["bnb-int8", "lambada"]["model"] == str(suite.options["model"])


def test_a_name_that_is_nothing(suite: Suite) -> None:
    assert_refused(suite.run(model="no-such-model"), "no model at 'no-such-model'", "expected a directory")


def test_a_path_that_is_not_there(suite: Suite) -> None:
    assert_refused(suite.run(model="/no/such/directory"), "no model at '/no/such/directory'")


def test_a_hub_id_without_network(suite: Suite) -> None:
    assert_refused(suite.run(model="someone/something"), "cannot fetch 'someone/something'", "connect once")


def test_a_file_that_is_no_gguf(suite: Suite) -> None:
    file = suite.path / "model.gguf"
    file.write_bytes(b"PK\x03\x04 and so on")
    assert_refused(suite.run(model=file), "is not a GGUF file", "expected b'GGUF'")


def test_a_gguf_that_is_cut_off(suite: Suite) -> None:
    file = suite.path / "model.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00\x05\x00")
    assert_refused(suite.run(model=file), "cannot read", "as GGUF", "is it complete")


def test_an_empty_directory(suite: Suite) -> None:
    (suite.path / "empty").mkdir()
    assert_refused(suite.run(model=suite.path / "empty"), "has no config.json")


def test_truncated_weights(suite: Suite) -> None:
    file = suite.own_model() / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])
    assert_refused(suite.run(), WEIGHTS, "is truncated", "fetch it again")


def test_weights_that_are_cut_off_in_the_header(suite: Suite) -> None:
    file = suite.own_model() / WEIGHTS
    file.write_bytes(file.read_bytes()[:100])
    assert_refused(suite.run(), WEIGHTS, "is not a readable safetensors file", "fetch it again")


def test_an_empty_weights_file(suite: Suite) -> None:
    (suite.own_model() / WEIGHTS).write_bytes(b"")
    assert_refused(suite.run(), WEIGHTS, "is not a readable safetensors file")


def test_a_header_that_is_no_table(suite: Suite) -> None:
    (suite.own_model() / WEIGHTS).write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    assert_refused(suite.run(), WEIGHTS, "is not a readable safetensors file")


def test_a_missing_shard(suite: Suite) -> None:
    model = suite.own_model()
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_refused(suite.run(), "lacks model-00002-of-00002.safetensors", "which its index names")


def test_an_index_that_is_no_json(suite: Suite) -> None:
    (suite.own_model() / "model.safetensors.index.json").write_text('{"weight_map": {')
    assert_refused(suite.run(), "model.safetensors.index.json")


def test_a_configuration_that_is_no_json(suite: Suite) -> None:
    (suite.own_model() / "config.json").write_text('{"model_type": ')
    assert_refused(suite.run(), "config.json")


def test_an_architecture_that_nobody_knows(suite: Suite) -> None:
    edit_config(suite.own_model(), model_type="unheard-of", architectures=["UnheardOf"])
    assert_refused(suite.run(), "transformers cannot load", "unheard-of")


def test_a_configuration_that_does_not_fit_the_weights(suite: Suite) -> None:
    edit_config(suite.own_model(), intermediate_size=96)
    assert_refused(suite.run(), "transformers cannot load")


def test_a_weight_that_is_missing(suite: Suite) -> None:
    edit_weights(suite.own_model(), **{"model.layers.1.mlp.up_proj.weight": None})
    assert_refused(suite.run(), "model.layers.1.mlp.up_proj.weight")


@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=["nan", "inf"])
def test_weights_that_are_no_numbers(suite: Suite, value: float) -> None:
    broken = torch.full((64, 64), value, dtype=torch.float16)
    edit_weights(suite.own_model(), **{"model.layers.0.self_attn.q_proj.weight": broken})
    assert_refused(suite.run(), "model.layers.0.self_attn.q_proj.weight", "NaN or infinity", "broken")
    assert suite.report["verdicts"] == []


def test_finite_weights_whose_answers_are_no_numbers(suite: Suite) -> None:
    edit_weights(suite.own_model(), **{"lm_head.weight": torch.full((304, 64), 6e4, dtype=torch.float16)})
    assert_refused(suite.run(dtype="float16"), "the model gives a log-likelihood of", "broken")
    assert suite.report["verdicts"] == suite.report["baselines"] == []


def test_a_tokenizer_that_is_missing(suite: Suite) -> None:
    model = suite.own_model()
    for file in model.glob("tokenizer*"):
        file.unlink()
    assert_refused(suite.run(), "has no tokenizer; expected one of tokenizer.json")


def test_a_tokenizer_that_is_damaged(suite: Suite) -> None:
    file = suite.own_model() / "tokenizer.json"
    file.write_text(file.read_text()[:500])
    assert_refused(suite.run(), "cannot load the tokenizer of")


def test_a_tokenizer_that_marks_no_beginning_and_no_end(suite: Suite) -> None:
    file = suite.own_model() / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in config.items() if "os_token" not in name}))
    suite.gates("story_perplexity")
    assert_refused(
        suite.run("test_story_perplexity.py"), "the tokenizer has neither a beginning-of-text nor an end-of-text token"
    )


def test_a_tokenizer_of_another_model(suite: Suite) -> None:
    file = suite.own_model() / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"] = {token: 3 * at for token, at in content["model"]["vocab"].items()}
    file.write_text(json.dumps(content))
    assert_refused(suite.run(), "tokenizer")


def test_pickled_weights_are_never_read(suite: Suite) -> None:
    model = suite.own_model()
    (model / WEIGHTS).rename(model / "pytorch_model.bin")
    assert_refused(suite.run(), "only pickled weights, which are never read", "save_pretrained")


def edit_config(model: Path, **changes: object) -> None:
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(model: Path, **changes: torch.Tensor | None) -> None:
    weights: dict[str, torch.Tensor | None] = {**load_file(model / WEIGHTS), **changes}
    save_file(
        {name: weight for name, weight in weights.items() if weight is not None},
        model / WEIGHTS,
        metadata={"format": "pt"},
    )
