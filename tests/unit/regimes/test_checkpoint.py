"""Checkpoints that others quantized: what is read from configurations as the libraries write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.regimes import checkpoint, gguf_file
from pytest_qllm.regimes.catalog import RegimeCatalog

_CT_WEIGHTS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True}
_INTX = {
    "_type": "IntxWeightOnlyConfig",
    "_version": 2,
    "_data": {
        "weight_dtype": {"_type": "torch.dtype", "_data": "int3"},
        "granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 32}},
    },
}
_INTX_DYNAMIC = {
    "_type": "Int8DynamicActivationIntxWeightConfig",
    "_version": 2,
    "_data": {
        "weight_dtype": {"_type": "torch.dtype", "_data": "int4"},
        "weight_granularity": {"_type": "PerGroup", "_version": 1, "_data": {"group_size": 32}},
    },
}
_BY_NAME = {"_default": _INTX_DYNAMIC, "model.embed_tokens": {"_type": "Int8WeightOnlyConfig"}, "re:.*gate": None}
_FP8 = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}

KNOWN: list[tuple[dict[str, Any], tuple[str, int, int | None, bool]]] = [
    ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, ("GPTQ", 4, 128, True)),
    ({"quant_method": "gptq", "bits": 3, "group_size": -1, "sym": False}, ("GPTQ", 3, None, True)),
    ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, ("AWQ", 4, 128, True)),
    ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": True}, ("AWQ", 4, 64, True)),
    ({"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": True}, ("AutoRound", 4, 32, True)),
    ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, ("LLM.int8()", 8, None, False)),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, ("NF4", 4, 64, True)),
    (
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": _CT_WEIGHTS}}},
        ("INT4 (W4A16)", 4, 128, True),
    ),
    (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"group_0": {"weights": _FP8, "input_activations": {"num_bits": 8, "type": "float"}}},
        },
        ("FP8 (W8A8)", 8, None, False),
    ),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}}}},
        ("INT8 (torchao)", 8, None, True),
    ),
    ({"quant_method": "torchao", "quant_type": {"default": _INTX}}, ("INT3 (torchao)", 3, 32, True)),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationInt8WeightConfig"}}},
        ("INT8 (torchao)", 8, None, False),
    ),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}},
        ("FP8 (torchao)", 8, None, True),
    ),
    ({"quant_method": "torchao", "quant_type": {"default": _INTX_DYNAMIC}}, ("INT4 (torchao)", 4, 32, False)),
    (
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "FqnToConfig", "_data": {"fqn_to_config": _BY_NAME}}},
        },
        ("INT4 (torchao)", 4, 32, False),
    ),
    (
        {
            "quant_method": "torchao",
            "quant_type": {
                "default": {"_type": "ModuleFqnToConfig", "_data": {"module_fqn_to_config": {"a": None, "b": _INTX}}}
            },
        },
        ("INT3 (torchao)", 3, 32, True),
    ),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Float8DynamicActivationInt4WeightConfig"}}},
        ("INT4 (torchao)", 4, None, False),
    ),
    (
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "UIntxWeightOnlyConfig", "_data": {"bit_width": 4, "group_size": 64}}},
        },
        ("INT4 (torchao)", 4, 64, True),
    ),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "NVFP4WeightOnlyConfig", "_data": {}}}},
        ("FP4 (torchao)", 4, None, True),
    ),
    (
        {"quant_method": "torchao", "quant_type": "int8_dynamic_activation_int4_weight"},
        ("INT4 (torchao)", 4, None, False),
    ),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, ("INT4 (torchao)", 4, None, True)),
    (
        {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "config_groups": {"group_0": {"weights": {**_CT_WEIGHTS, "symmetric": False}}},
        },
        ("INT4 (W4A16)", 4, 128, True),
    ),
    ({"quant_method": "quanto", "weights": "int4", "activations": None}, ("INT4 (quanto)", 4, None, True)),
    ({"quant_method": "quanto", "weights": "float8", "activations": None}, ("FP8 (quanto)", 8, None, True)),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ("FP8", 8, 128 * 128, False)),
    ({"quant_method": "mxfp4"}, ("MXFP4", 4, None, True)),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"")
    return tmp_path


def _write(folder: Path, **config: Any) -> str:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 64, **config}))
    return f"mine={folder}"


@pytest.mark.parametrize(("config", "expected"), KNOWN, ids=[f"{one[0]}-{one[1]}bit" for _, one in KNOWN])
def test_method_width_and_groups_are_the_configuration_s(
    folder: Path, config: dict[str, Any], expected: tuple[str, int, int | None, bool]
) -> None:
    found = RegimeCatalog().get(_write(folder, quantization_config=config))
    assert (found.method, found.bits, found.options.get("group_size"), found.weight_only) == expected
    assert found.name == "mine"


def test_codes_that_take_a_byte_each_tell_no_width(folder: Path) -> None:
    given = {**_INTX["_data"], "intx_packing_format": {"_data": "UNPACKED_TO_INT8", "_type": "IntxPackingFormat"}}
    config = {"quant_method": "torchao", "quant_type": {"default": {**_INTX, "_data": given}}}
    assert RegimeCatalog().get(_write(folder, quantization_config=config)).options["unpacked"]


def test_autogptq_s_own_file(folder: Path) -> None:
    text = _write(folder)
    (folder / "quantize_config.json").write_text(json.dumps({"bits": 2, "group_size": 64, "sym": True}))
    found = RegimeCatalog().get(text)
    assert (found.method, found.bits, found.options["group_size"]) == ("GPTQ", 2, 64)


def test_quanto_s_own_map(folder: Path) -> None:
    text = _write(folder)
    layers = {"a": {"weights": "qint8", "activations": "none"}, "b": {"weights": "qint4", "activations": "none"}}
    (folder / "quanto_qmap.json").write_text(json.dumps(layers))
    assert RegimeCatalog().get(text).bits == 4


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "is not quantized"),
        ({"quantization_config": {"quant_method": "magic"}}, "its quant_method is magic; known ones: gptq, awq"),
        ({"quantization_config": {}}, "its quant_method is not said"),
        ({"quantization_config": {"quant_method": "gptq"}}, "cannot be read (KeyError: 'bits')"),
        ({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {}}}, "cannot be read"),
        (
            {"quantization_config": {"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}},
            "transformers 5.23 loads no checkpoint of hqq",
        ),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "format": "pack-quantized",
                    "config_groups": {"group_0": {"weights": {**_CT_WEIGHTS, "symmetric": False}}},
                }
            },
            "cannot load the packed zero points",
        ),
        ({"quantization_config": {"quant_method": "nvfp4"}}, "transformers 5.23 loads no checkpoint of nvfp4"),
        (
            {"quantization_config": {"quant_method": "torchao", "quant_type": {"default": {"_type": "MagicConfig"}}}},
            "torchao's MagicConfig does not say how wide a weight is; expected",
        ),
    ],
)
def test_what_is_not_known_is_said_in_a_line(folder: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(QllmError) as refused:
        RegimeCatalog().get(_write(folder, **config))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "command", "device"),
    [
        ({"quant_method": "eetq"}, "pip install kernels", "cuda"),
        ({"quant_method": "higgs", "bits": 4, "group_size": 256}, "pip install flute-kernel", "cuda"),
        ({"quant_method": "spqr", "bits": 3}, "pip install spqr_quant", "cuda"),
        ({"quant_method": "mxfp4"}, "pip install kernels", ""),
        ({"quant_method": "fbgemm_fp8"}, "pip install fbgemm_gpu", "cuda"),
        ({"quant_method": "auto-round", "bits": 4}, "pip install auto_round", ""),
    ],
    ids=lambda value: value.get("quant_method") if isinstance(value, dict) else None,
)
def test_it_says_which_module_it_needs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], command: str, device: str
) -> None:
    monkeypatch.setattr("pytest_qllm.regimes.regime.installed", lambda library: library == "torch")
    found = RegimeCatalog().get(_write(folder, quantization_config=config))
    assert (found.missing(), found.device) == (command, device)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    text = _write(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(QllmError, match=r"only pickled weights \(pytorch_model.bin\), which are never read"):
        RegimeCatalog().get(text)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (
            "weights.bin",
            "is a pickle, which is never read; expected the directory that has its config.json",
        ),
        ("model.safetensors", "is a single file; expected the directory that has its config.json"),
    ],
)
def test_a_single_file_is_no_checkpoint(folder: Path, file: str, words: str) -> None:
    (folder / file).write_bytes(b"")
    with pytest.raises(QllmError) as refused:
        RegimeCatalog().get(f"mine={folder / file}")
    assert words in str(refused.value)


def test_a_gguf_file_that_is_not_there_is_no_hub_id() -> None:
    with pytest.raises(QllmError, match="there is no such directory, GGUF file or hub id"):
        RegimeCatalog().get("mine=models/absent.gguf")


def test_a_directory_with_one_gguf_file_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model-q4.gguf").write_bytes(b"")
    monkeypatch.setattr(gguf_file, "describe_gguf", lambda path: gguf_file.Described("GGUF Q4_0", 4, 32, 4.5))
    found = RegimeCatalog().get(f"mine={tmp_path}")
    assert (found.method, found.backend) == ("GGUF Q4_0", "checkpoint:Gguf")
    assert found.options["path"] == str(tmp_path / "model-q4.gguf")
    (tmp_path / "model-q8.gguf").write_bytes(b"")
    with pytest.raises(QllmError, match=r"has 2 GGUF files \(model-q4.gguf, ...\); name one of them"):
        RegimeCatalog().get(f"mine={tmp_path}")


def test_a_hub_s_gguf_file_has_to_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_qllm.models.source.from_hub", lambda name, patterns: tmp_path)
    with pytest.raises(QllmError, match=r"fetch the file \(hf download org/name FILE.gguf\) and give its path"):
        RegimeCatalog().get("mine=org/name")


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(QllmError, match="is not valid JSON"):
        RegimeCatalog().get(f"mine={folder}")


def test_another_model_s_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    _write(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    model = tmp_path / "fp16"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 128}))
    with pytest.raises(QllmError, match="its hidden_size is 64, the FP16 model's 128"):
        checkpoint.check_fits("mine", folder, model)


def test_code_of_its_own_is_not_run_unless_it_is_trusted_by_name(folder: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4}, "auto_map": {"AutoModel": "theirs.Model"}}
    text = _write(folder, **config, architectures=["TheirModel"])
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"llama"', '"theirs"'))
    with pytest.raises(UnavailableError, match="--qllm-trust-remote-code=mine"):
        checkpoint.fetched(RegimeCatalog().get(text))
    assert checkpoint.fetched(RegimeCatalog(trusted=["mine"]).get(text)) == folder


def test_an_architecture_that_transformers_has_needs_no_code(folder: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq", "bits": 4}, "auto_map": {"AutoModel": "theirs.Model"}}
    assert checkpoint.fetched(RegimeCatalog().get(_write(folder, **config))) == folder
