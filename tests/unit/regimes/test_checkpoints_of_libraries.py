"""Checkpoints that the libraries themselves made and saved: recognized as what they are, loaded, and read back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_llama
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TorchAoConfig

from pytest_qllm.errors import QllmError
from pytest_qllm.models.loader import load_dense
from pytest_qllm.regimes.backends import backend, dense_backend
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import Regime


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("fp16"))


def _loaded(model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float16)


def _quanto(width: str) -> Callable[[Path, Path], None]:
    def make(model: Path, into: Path) -> None:
        quanto = pytest.importorskip("optimum.quanto")
        made = quanto.QuantizedModelForCausalLM.quantize(_loaded(model), weights=getattr(quanto, width))
        made.save_pretrained(str(into))

    return make


def _gptq(model: Path, into: Path) -> None:
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", str(os.cpu_count() or 1))
    gptqmodel = pytest.importorskip("gptqmodel")
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [tokenizer(text) for text in tiny_llama.TEXTS]
    config = gptqmodel.QuantizeConfig(bits=4, group_size=32, sym=True, desc_act=True)
    quantizer = gptqmodel.GPTQModel.load(str(model), config, dtype=torch.float32)
    quantizer.quantize([{key: row[key] for key in ("input_ids", "attention_mask")} for row in rows], batch_size=4)
    quantizer.save(str(into))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(_quanto("qint8"), ("INT8 (quanto)", 8, None), id="quanto-int8"),
        pytest.param(_quanto("qint4"), ("INT4 (quanto)", 4, None), id="quanto-int4"),
        pytest.param(_gptq, ("GPTQ", 4, 32), id="gptq-act-order"),
    ],
)
def test_it_is_what_its_library_says(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, Path], None],
    expected: tuple[str, int, int | None],
) -> None:
    monkeypatch.chdir(tmp_path)  # GPTQModel writes its logs into the working directory
    make(model, tmp_path / "theirs")
    found = RegimeCatalog().get(f"mine={tmp_path / 'theirs'}")
    assert (found.method, found.bits, found.options.get("group_size")) == expected
    original, exact, dense = _logits(found, model, tmp_path)
    lost = (exact - original).abs().mean() / original.std()
    assert 1e-3 < lost < 0.5
    # Kernels may round to bfloat16 where a CPU has it (by 0.07 deviations here); another order of columns is off by 1.
    torch.testing.assert_close(exact, dense, atol=float(0.15 * original.std()), rtol=0)
    assert (exact - dense).abs().mean() < 0.02 * original.std()


def _logits(regime: Regime, model: Path, folder: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of the FP16 model, of the checkpoint under its library's kernels, and of its dense weights."""
    artifact = folder / "artifact"
    artifact.mkdir()
    backend(regime).build(regime, model, [], 0, artifact)
    shadow = dense_backend(regime)
    assert shadow is not None
    ids = torch.randint(3, 63, (4, 30), generator=torch.Generator().manual_seed(0))
    models = (
        load_dense(model, torch.float32, "cpu"),
        backend(regime).load(artifact, torch.float32, "cpu"),
        shadow.dense(artifact, torch.float32, "cpu"),
    )
    with torch.inference_mode():
        original, exact, dense = (one(input_ids=ids).logits.float() for one in models)
    return original, exact, dense


def test_torchao_s_small_integers_run_in_another_dtype_than_the_file_s(model: Path, tmp_path: Path) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    config = quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=quantization.PerGroup(32))
    made = AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float16, quantization_config=TorchAoConfig(quantization.FqnToConfig({"_default": config}))
    )
    made.save_pretrained(tmp_path / "theirs")
    found = RegimeCatalog().get(f"mine={tmp_path / 'theirs'}")
    assert (found.method, found.bits, found.options["group_size"]) == ("INT4 (torchao)", 4, 32)
    (tmp_path / "artifact").mkdir()
    backend(found).build(found, model, [], 0, tmp_path / "artifact")
    loaded = backend(found).load(tmp_path / "artifact", torch.bfloat16, "cpu")
    with torch.inference_mode():
        assert loaded(input_ids=torch.arange(3, 33)[None]).logits.isfinite().all()


def test_fp8_is_dense_weights_in_the_compute_dtype_on_a_cpu(model: Path, tmp_path: Path) -> None:
    """As transformers writes it with ``FineGrainedFP8Config``, which it does on a GPU only."""
    theirs = shutil.copytree(model, tmp_path / "theirs")
    tensors = {}
    for name, weight in load_file(model / "model.safetensors").items():
        tensors[name] = weight
        if "_proj." in name:
            scale = weight.float().abs().max() / torch.finfo(torch.float8_e4m3fn).max
            tensors[name] = (weight.float() / scale).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = scale.reshape(1, 1)
    save_file(tensors, theirs / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (theirs / "config.json").write_text(json.dumps(config))
    found = RegimeCatalog().get(f"mine={theirs}")
    (tmp_path / "artifact").mkdir()
    backend(found).build(found, model, [], 0, tmp_path / "artifact")
    ids = torch.arange(3, 33)[None]
    loaded = backend(found).load(tmp_path / "artifact", torch.float32, "cpu")
    with torch.inference_mode():
        original, got = (one(input_ids=ids).logits for one in (load_dense(model, torch.float32, "cpu"), loaded))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    assert 1e-3 < (got - original).abs().mean() / original.std() < 0.1


def test_what_hqq_saves_is_a_pickle(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("hqq")
    from hqq.core.quantize import BaseQuantizeConfig
    from hqq.models.hf.base import AutoHQQHFModel

    made, config = _loaded(model), BaseQuantizeConfig(nbits=4, group_size=32)
    AutoHQQHFModel.quantize_model(made, quant_config=config, compute_dtype=torch.float16, device="cpu")
    AutoHQQHFModel.save_quantized(made, str(tmp_path))
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(QllmError, match=r"only pickled weights \(qmodel.pt\), which are never read"):
        RegimeCatalog().get(f"mine={tmp_path}")
