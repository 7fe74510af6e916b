"""The solver of simulated regimes against a public implementation of GPTQ, on the same layer, inputs and grid."""

from __future__ import annotations

import os

import pytest
import torch

from pytest_qllm.regimes.solver import inverse_factor, solve


@pytest.mark.parametrize("group", [32, 64])
def test_the_weights_are_gptqmodel_s(group: int, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    pytest.importorskip("gptqmodel")
    monkeypatch.chdir(str(tmp_path))  # it writes its logs into the working directory
    monkeypatch.setenv("GPTQMODEL_CPU_WORKERS", str(os.cpu_count() or 1))
    from gptqmodel import QuantizeConfig
    from gptqmodel.quantization.gptq import GPTQ

    torch.manual_seed(0)
    inputs = torch.randn(512, 128) @ torch.randn(128, 128)
    layer = torch.nn.Linear(128, 24, bias=False)
    weight = layer.weight.detach().clone()
    config = QuantizeConfig(
        bits=4, group_size=group, sym=False, desc_act=False, act_group_aware=False, damp_percent=0.01
    )
    theirs = GPTQ(layer, config)
    theirs.quantizer.configure(perchannel=True)
    with torch.inference_mode():
        theirs.add_batch(inputs[None], layer(inputs)[None])
        # Within its blocks it takes a group's grid from weights that have not yet moved.
        expected = theirs.quantize(blocksize=group)[0].float()

    def fit(number: int, columns: torch.Tensor, diagonal: torch.Tensor):  # type: ignore[no-untyped-def]
        """Asymmetric, with zero in the range and a whole zero point: AutoGPTQ's grid."""
        low, high = columns.amin(1).clamp_max(0), columns.amax(1).clamp_min(0)
        scale = (high - low) / 15
        zero = (-low / scale).round()
        return lambda at, column: scale * (((column / scale).round() + zero).clamp(0, 15) - zero)

    ours = solve(weight, inverse_factor("layer", inputs.T @ inputs), fit, group)
    # A column on the border between two levels may go either way, by the order of sums.
    assert float(torch.isclose(ours, expected, atol=1e-4).float().mean()) > 0.98
    lost, known = (float((inputs @ (weight - one).T).square().sum()) for one in (ours, expected))
    assert lost == pytest.approx(known, rel=0.02)
