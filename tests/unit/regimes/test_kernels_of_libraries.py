"""Each library's layers compute what its dense weights say, in inference mode, biases and tied embeddings included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from pytest_qllm.models.loader import load_dense
from pytest_qllm.regimes.backends import backend, dense_backend
from pytest_qllm.regimes.catalog import BUILTIN
from pytest_qllm.regimes.layers import linears
from pytest_qllm.regimes.regime import Regime

REGIMES = [
    one for one in BUILTIN if one.backend in ("torchao", "hqq", "quanto", "compressed_tensors") and not one.device
]


# Tied embeddings are a matter of the library and not of the width: with one regime of each.
TIED = list({one.backend: one for one in REGIMES}.values())


def _cases(regimes: list[Regime], tied: list[Regime]) -> pytest.MarkDecorator:
    cases = [(one, False) for one in regimes] + [(one, True) for one in tied]
    names = [f"{one.name}-{'tied' if is_tied else 'untied'}" for one, is_tied in cases]
    return pytest.mark.parametrize(("regime", "checkpoint"), cases, indirect=["checkpoint"], ids=names)


@pytest.fixture(scope="module")
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen2, whose attention has biases."""
    torch.manual_seed(0)
    directory = tmp_path_factory.mktemp("qwen2")
    config = Qwen2Config(
        vocab_size=128,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=request.param,
    )
    model = Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_()
    model.half().save_pretrained(directory)
    letters = {chr(33 + at): at for at in range(90)}
    tokenizer = Tokenizer(models.BPE(letters, []))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(directory)
    return directory


@_cases(REGIMES, TIED)
def test_kernel_and_dense_weights_agree(regime: Regime, checkpoint: Path, tmp_path: Path) -> None:
    missing = regime.missing()
    if missing:
        pytest.skip(missing)
    texts = ["abcdefghijklmnopqrstuvwxyz" * 20] * 20 if "calibration" in regime.options else []
    backend(regime).build(regime, checkpoint, texts, 0, tmp_path)
    ids = torch.randint(90, (2, 24), generator=torch.Generator().manual_seed(1))
    for dtype in (torch.float32, torch.bfloat16):
        exact = backend(regime).load(tmp_path, dtype, "cpu")
        assert exact.dtype == dtype
        assert not exact.training
        with torch.inference_mode():
            found = exact(input_ids=ids).logits
            original = load_dense(checkpoint, dtype, "cpu")(input_ids=ids).logits
            assert found.dtype == dtype
            assert not torch.equal(found, original)
            shadow = dense_backend(regime)
            expected = original if shadow is None else shadow.dense(tmp_path, dtype, "cpu")(input_ids=ids).logits
        scale = float(original.abs().max())
        # Activations of 8 bits move a logit by a few percent; a kernel in the dtype of the products by a rounding.
        allowed = 0.1 if shadow is None else {torch.float32: 1e-4, torch.bfloat16: 0.05}[dtype]
        assert float((found - expected).abs().max()) < allowed * scale


@pytest.mark.parametrize("checkpoint", [False], indirect=True)
def test_nothing_but_safetensors_json_and_the_tokenizer_is_stored(checkpoint: Path, tmp_path: Path) -> None:
    for regime in REGIMES:
        if regime.missing() or "calibration" in regime.options:
            continue
        into = tmp_path / regime.name
        into.mkdir()
        backend(regime).build(regime, checkpoint, [], 0, into)
        assert {path.suffix for path in into.iterdir()} <= {".safetensors", ".json", ".jinja"}


HOLDING = [one for one in REGIMES if one.name in ("hqq-4bit", "hqq-3bit", "quanto-int8", "quanto-int4")]


@_cases(HOLDING, [])
def test_dense_weights_are_those_that_the_layers_hold(regime: Regime, checkpoint: Path, tmp_path: Path) -> None:
    """Bit for bit, in every compute dtype: scales, zero points and shifts are rounded to it when they are loaded."""
    missing = regime.missing()
    if missing:
        pytest.skip(missing)
    backend(regime).build(regime, checkpoint, [], 0, tmp_path)
    shadow = dense_backend(regime)
    assert shadow is not None
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        exact = backend(regime).load(tmp_path, dtype, "cpu")
        for layer, plain in linears(shadow.dense(tmp_path, dtype, "cpu")).items():
            made = exact.get_submodule(layer)
            with torch.no_grad():
                held = made.dequantize() if regime.backend == "hqq" else made.weight.dequantize()
            assert held.dtype == dtype
            assert torch.equal(held, plain.weight), layer
