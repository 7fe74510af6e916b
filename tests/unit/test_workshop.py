"""What makes a regime's model, and what is said when it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import POINTER
from pytest_qllm.store import Store
from pytest_qllm.workshop import Compute, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    unused: Any = None
    return Workshop(lambda: unused, unused, Compute("bfloat16", "cpu", 1), 0, Store(tmp_path), exact_kernels=True)


def test_weights_that_transformers_dequantizes_are_scored_with_no_kernel_of_their_own(workshop: Workshop) -> None:
    pytest.importorskip("torch")
    assert workshop.kernels(Regime("mine", "FP8", 8, "checkpoint:Exact", weight_only=False)) == "dense"
    assert workshop.kernels(Regime("mine", "INT8 (torchao)", 8, "checkpoint:Exact", "torchao")) == "exact"


def test_a_checkpoint_that_cannot_be_loaded_is_the_user_s_own_to_mend(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "config.json").write_text('{"quantization_config": {"quant_method": "torchao"}}')
    (tmp_path / POINTER).write_text(json.dumps({"path": str(theirs), "trusted": False}))
    monkeypatch.setattr(workshop, "artifact", lambda regime: tmp_path)
    with pytest.raises(QllmError) as refused:
        workshop.load(Regime("mine", "INT8 (torchao)", 8, "checkpoint:Exact", "torchao"), "exact")
    told = str(refused.value)
    assert told.startswith(f"torchao cannot load mine from {theirs} (")
    assert told.endswith("; if it is damaged, save or fetch it again: it is not made here")
