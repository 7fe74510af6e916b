"""What a quantized model weighs, from the tensors in its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pytest_qllm.regimes.size import NAME, Size, of_artifact

WEIGHTS = {"layers.0.up": 64 * 64, "layers.0.down": 64 * 64}


def _packed(scale_dtype: torch.dtype = torch.float16) -> dict[str, torch.Tensor]:
    """Two matrices of 4 bits in groups of 32, as they lie on disk."""
    tensors = {"embed.weight": torch.zeros(100, 64, dtype=torch.float16)}
    for name in WEIGHTS:
        tensors[f"{name}.codes"] = torch.zeros(64, 32, dtype=torch.uint8)
        tensors[f"{name}.scales"] = torch.zeros(64, 2, dtype=scale_dtype)
        tensors[f"{name}.bias"] = torch.zeros(64, dtype=torch.float32)
    return tensors


def test_scales_count_and_biases_do_not(tmp_path: Path) -> None:
    save_file(_packed(), tmp_path / "model.safetensors")
    found = of_artifact(tmp_path, WEIGHTS, 2 * 64 * 64 + 6400)
    assert found is not None
    assert found.bits_per_weight == 4 + 16 / 32
    assert found.bytes == 6400 * 2 + 2 * (64 * 32 + 128 * 2 + 64 * 4)
    assert found.model_bits_per_weight == pytest.approx(8 * found.bytes / (2 * 64 * 64 + 6400))


def test_a_matrix_that_stayed_in_fp16_counts(tmp_path: Path) -> None:
    tensors = {name: tensor for name, tensor in _packed().items() if "down" not in name}
    tensors["layers.0.down.weight"] = torch.zeros(64, 64, dtype=torch.float16)
    save_file(tensors, tmp_path / "model.safetensors")
    found = of_artifact(tmp_path, WEIGHTS, 20000)
    assert found is not None
    assert found.bits_per_weight == (4.5 + 16) / 2


def test_tensors_within_tensors_belong_to_their_module(tmp_path: Path) -> None:
    renamed = {name.replace(".codes", ".weight._data.codes"): tensor for name, tensor in _packed().items()}
    save_file(renamed, tmp_path / "model.safetensors")
    found = of_artifact(tmp_path, WEIGHTS, 20000)
    assert found is not None
    assert found.bits_per_weight == 4.5


def test_several_files_and_a_checkpoint_s_own_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    tensors = _packed()
    for at, part in enumerate(("up", "down", "embed")):
        some = {name: tensor for name, tensor in tensors.items() if part in name}
        save_file(some, tmp_path / "checkpoint" / f"model-{at}.safetensors")
    save_file(tensors, tmp_path / "dense.safetensors")
    found = of_artifact(tmp_path, WEIGHTS, 20000)
    assert found is not None
    assert found.bits_per_weight == 4.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_plain_matrices_tell_no_width(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({f"{name}.weight": torch.zeros(64, 64, dtype=dtype) for name in WEIGHTS}, tmp_path / "a.safetensors")
    assert of_artifact(tmp_path, WEIGHTS, 20000) is None


def test_a_matrix_without_a_tensor_tells_none(tmp_path: Path) -> None:
    save_file({name: tensor for name, tensor in _packed().items() if "down" not in name}, tmp_path / "a.safetensors")
    assert of_artifact(tmp_path, WEIGHTS, 20000) is None


def test_a_backend_s_own_account_is_taken(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps(Size(2.5, 6.0, 100).to_json()))
    assert of_artifact(tmp_path, WEIGHTS, 20000) == Size(2.5, 6.0, 100)
