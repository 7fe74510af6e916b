"""A quantized key-value cache: the narrower it is, the further the scores are; company changes none."""

from __future__ import annotations

import pytest
import torch

from engine.families import LLAMA
from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.engine.kv_engine import RESIDUAL, QuantizedCacheEngine
from pytest_qllm.engine.torch_engine import TorchEngine

pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
pytest.importorskip("hqq", reason="hqq is not installed")

ITEMS = [
    [Continuation(f"what is {word}", answer) for answer in (" a", " big dog", " nothing at all" * 20)]
    for word in ("one", "two and two", "there")
]
TEXT = "a big dog is there and a cat is not. " * 8


@pytest.fixture(scope="module")
def model():
    return LLAMA.model()


def scores(engine: TorchEngine) -> torch.Tensor:
    return torch.tensor([one.loglikelihood for item in engine.continuations(ITEMS) for one in item])


def test_a_narrower_cache_is_further_off(model, tokenizer):
    plain = TorchEngine(model, tokenizer, packed=False)
    exact, text = scores(plain), plain.rolling([TEXT])[0].loglikelihood
    off = []
    for bits in (8, 4, 2):
        engine = QuantizedCacheEngine(model, tokenizer, bits)
        difference = (scores(engine) - exact).abs()
        off.append((float(difference.max()), abs(engine.rolling([TEXT])[0].loglikelihood - text)))
    (eight, eight_text), (four, four_text), (two, two_text) = off
    assert 0 < eight < four < two
    assert 0 < eight_text < four_text < two_text


def test_an_item_s_scores_do_not_hang_on_its_company(model, tokenizer):
    engine = QuantizedCacheEngine(model, tokenizer, 4)
    alone = [engine.continuations([[request]])[0][0] for item in ITEMS for request in item]
    assert alone == [one for item in engine.continuations(ITEMS) for one in item]


def test_a_long_continuation_is_quantized_as_it_is_read(model, tokenizer, monkeypatch):
    engine = QuantizedCacheEngine(model, tokenizer, 4)
    read: list[int] = []
    own = engine.runner.following
    monkeypatch.setattr(
        engine.runner, "following", lambda tokens, cache: read.append(len(tokens)) or own(tokens, cache)
    )
    engine.continuations([[Continuation("what is", " nothing at all" * 40)]])
    assert max(read[1:]) == RESIDUAL
    assert len(read) > 2


def test_a_generation_of_as_many_tokens_as_asked(model, tokenizer):
    (made,) = QuantizedCacheEngine(model, tokenizer, 4).generations([Generation("what is", (), 7)])
    assert made.tokens <= 7
    assert made.hit_limit == (made.tokens == 7)
