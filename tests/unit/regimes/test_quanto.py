"""What a killed process leaves of quanto's compilation keeps nobody waiting; a product that crashes is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

quanto = pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")


def test_an_old_lock_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optimum.quanto.library import extensions

    from pytest_qllm.regimes.backends import quanto as backend

    lock = tmp_path / "lock"
    lock.touch()
    old = time.time() - backend.COMPILES - 1
    os.utime(lock, (old, old))
    seen: list[bool] = []

    class Compiled(SimpleNamespace):
        @property
        def lib(self) -> object:
            seen.append(lock.exists())
            return self

    monkeypatch.setattr(extensions, "get_extension", lambda _: Compiled(build_directory=str(tmp_path)))
    backend._load_unpacking()
    assert seen == [False]


def test_rows_that_crash_torch_s_int8_product_are_refused(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from pytest_qllm.errors import QllmError
    from pytest_qllm.regimes.backends import quanto as backend
    from pytest_qllm.regimes.layers import Stored

    config = LlamaConfig(
        vocab_size=32, hidden_size=40, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(tmp_path)
    name = "model.layers.0.mlp.gate_proj"
    plain = {key: value for key, value in model.state_dict().items() if key != f"{name}.weight"}
    details = {"map": {name: {"weights": "qint8", "activations": "none"}}, "plain_outputs": []}
    stored = Stored(tmp_path, {name: {}}, {name: (64, 40)}, plain, details)
    with pytest.raises(QllmError, match=f"crashes on the 40 inputs of {name}.*--qllm-dtype=float32"):
        backend._exact(stored, torch.bfloat16, "cpu")


def test_codes_begin_where_torch_s_products_need_them(tmp_path: Path) -> None:
    """An artifact's tensors may begin at any byte of the file, on which the int8 product in bfloat16 crashes."""
    import tiny_llama
    import torch

    from pytest_qllm.regimes.backends import quanto as backend
    from pytest_qllm.regimes.catalog import RegimeCatalog

    model, artifact = tiny_llama.write(tmp_path / "fp16"), tmp_path / "artifact"
    artifact.mkdir()
    backend.build(RegimeCatalog().get("quanto-int8"), model, [], 0, artifact)
    loaded = backend.load(artifact, torch.bfloat16, "cpu")
    codes = [layer.weight._data for layer in loaded.modules() if hasattr(getattr(layer, "weight", None), "_data")]
    assert codes
    assert all(one.data_ptr() % 64 == 0 for one in codes)
