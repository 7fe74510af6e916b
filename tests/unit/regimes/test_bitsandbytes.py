"""The effective weights of 4-bit layers, looked up without the library's dequantizer."""

from __future__ import annotations

import pytest
import torch

functional = pytest.importorskip("bitsandbytes.functional")

from bitsandbytes.nn import Linear4bit  # noqa: E402

from pytest_qllm.regimes.backends.bitsandbytes import effective  # noqa: E402


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_are_what_the_library_dequantizes(kind, nested):
    torch.manual_seed(0)
    layer = Linear4bit(128, 96, bias=False, quant_type=kind, compress_statistics=nested, compute_dtype=torch.float32)
    layer.weight.data = torch.randn(96, 128)
    layer.to("cpu")
    layer.weight = layer.weight._quantize("cpu") if layer.weight.quant_state is None else layer.weight
    expected = functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    found = effective(layer)
    assert layer.weight.quant_state.nested == nested
    assert found.shape == (96, 128)
    assert torch.allclose(found, expected.float(), rtol=0, atol=1e-6)
    inputs = torch.randn(4, 128)
    assert torch.allclose(layer(inputs), inputs @ found.T, atol=1e-4)
