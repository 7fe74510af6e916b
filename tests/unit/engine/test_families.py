"""Which families of models are packed and which are not, and that either way the answers are transformers' own."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest
import torch
import transformers
from transformers import LlamaForCausalLM, LlamaModel

from engine.families import (
    FAMILIES,
    LLAMA,
    MAX_LENGTH,
    SHOTS,
    WINDOW,
    Packing,
    generated_ids,
    loglikelihoods,
    random_model,
)
from pytest_qllm.engine.attention import NAME
from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.engine.torch_engine import TorchEngine

TOLERANCE = 1e-3
NATS = 1e-4
QUESTIONS = ("who", "what is", "where?")
ANSWERS = (" a", " bcd", " bce", " xyz uvw")
OTHER_SHOTS = "another beginning, of two items\n\n"


def probes(shots: str = SHOTS) -> list[list[Continuation]]:
    """Items with a shared beginning, whose continuations begin alike, differ in length, and are one token or many."""
    return [[Continuation(shots + question, answer, len(shots)) for answer in ANSWERS] for question in QUESTIONS]


def short_items() -> list[list[Continuation]]:
    """What each item shares with others is the shots, other shots, a part of them, or nothing."""
    letters = [Continuation(SHOTS + "which letter:", letter, len(SHOTS)) for letter in "ABCD"]
    others = [[Continuation(OTHER_SHOTS + "why", answer, len(OTHER_SHOTS)) for answer in ANSWERS[:2]]]
    alone = [[Continuation("the sky is", answer) for answer in ANSWERS], [Continuation("", "no context at all")]]
    return [*probes(), letters, *others, *alone, *others]


def long_items() -> list[list[Continuation]]:
    context = SHOTS * 3 + "and in the end"
    assert WINDOW < len(context) < MAX_LENGTH
    return [[Continuation(context, answer, len(SHOTS)) for answer in ANSWERS]]


def scores(engine: TorchEngine, items: list[list[Continuation]]) -> list[float]:
    return [one.loglikelihood for item in engine.continuations(items) for one in item]


def paths(monkeypatch, engine: TorchEngine) -> list[str]:
    """Which paths are taken from now on."""
    taken: list[str] = []
    for name in ("_score_packed", "_score_plainly"):
        own = getattr(engine, name)
        monkeypatch.setattr(engine, name, lambda work, own=own, name=name: (taken.append(name), own(work))[1])
    return taken


by_name = {"ids": lambda family: family.name}
with_a_window = pytest.mark.parametrize("family", [one for one in FAMILIES if one.window], indirect=True, **by_name)


@pytest.fixture(scope="module", params=FAMILIES, **by_name)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return family.model()


@pytest.fixture(scope="module")
def engine(family, model, tokenizer):
    """Packed where the model can be, with three slots for generations, so that they are refilled."""
    engine = TorchEngine(model, tokenizer, packed=family.packing is Packing.EQUAL)
    engine.runner.budget.slots = 3
    return engine


class TestDifference:
    def test_tells_which_models_can_be_packed(self, family, model, tokenizer):
        found = TorchEngine(model, tokenizer, packed=True).difference(probes())
        if family.packing is Packing.EQUAL:
            assert found < TOLERANCE
        elif family.packing is Packing.REFUSED:
            assert found == float("inf")
        else:
            assert found > 1

    @with_a_window
    def test_tells_nothing_of_a_model_whose_window_is_shorter_than_the_probes(self, family, model, tokenizer):
        engine = TorchEngine(model, tokenizer, packed=True)
        assert engine.difference(long_items()) == float("inf")
        assert engine.packed

    def test_leaves_the_model_and_the_engine_as_they_were(self, family, model, tokenizer):
        packed = family.packing is not Packing.EQUAL  # so that neither is what the probing ends with
        ids = torch.arange(3, 60)[None]
        with torch.inference_mode():
            before, implementation = model(input_ids=ids).logits, model.config._attn_implementation
            engine = TorchEngine(model, tokenizer, packed=packed)
            engine.difference(probes())
            assert engine.packed is packed
            assert model.config._attn_implementation == implementation != NAME
            assert torch.equal(model(input_ids=ids).logits, before)


class TestScores:
    def test_below_the_window(self, family, model, tokenizer, engine, monkeypatch):
        taken = paths(monkeypatch, engine)
        items = short_items()
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)
        assert taken == (["_score_packed"] if family.packing is Packing.EQUAL else ["_score_plainly"])
        assert bool(engine.runner._prefixes) == engine.packed

    def test_above_the_window(self, family, model, tokenizer, engine, monkeypatch):
        taken = paths(monkeypatch, engine)
        items = [*short_items(), *long_items()]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)
        packed = family.packing is Packing.EQUAL and family.window is None
        assert taken == (["_score_packed"] if packed else ["_score_plainly"])

    def test_of_the_plain_path(self, model, tokenizer):
        items = [*short_items(), *long_items()]
        plain = TorchEngine(model, tokenizer, packed=False)
        assert scores(plain, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)

    def test_of_a_text(self, model, tokenizer, engine):
        texts = ["a short one", SHOTS * 4]
        plain = TorchEngine(model, tokenizer, packed=False)
        for found, expected in zip(engine.rolling(texts), plain.rolling(texts), strict=True):
            assert found.loglikelihood == pytest.approx(expected.loglikelihood, abs=NATS)
            assert (found.tokens, found.is_greedy) == (expected.tokens, expected.is_greedy)


def generations(**sampling) -> list[Generation]:
    """More than there are slots in the test below; limits differ, and shared beginnings and none are mixed."""
    limits = cycle((3, 9, 1, 6, 12))
    contexts = [
        *((SHOTS + question, len(SHOTS)) for question in ("a", "bb cc", "what is it", "d", "who?", "ee", "f: g")),
        *((OTHER_SHOTS + question, len(OTHER_SHOTS)) for question in ("hh", "i")),
        *((question, 0) for question in ("the sky is", "k", "where was it")),
    ]
    contexts = contexts[::2] + contexts[1::2]
    return [
        Generation(context, (), next(limits), shared, seed=at, **sampling)
        for at, (context, shared) in enumerate(contexts)
    ]


SAMPLING = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}


@pytest.mark.parametrize("sampling", [{}, SAMPLING], ids=["greedy", "sampled"])
def test_generations_are_those_of_transformers_one_prompt_at_a_time(engine, sampling):
    requests = generations(**sampling)
    _check_generations(engine, requests if engine.packed else requests[:3])


@with_a_window
def test_a_generation_that_grows_beyond_the_window(engine):
    _check_generations(engine, [replace(one, limit=40) for one in generations()[:2]])


def _check_generations(engine: TorchEngine, requests: list[Generation]) -> None:
    made = engine.generations(requests)
    assert len(made) == len(requests)
    for one, request in zip(made, requests, strict=True):
        expected = generated_ids(engine.model, engine.tokenizer, request)
        assert one.text == engine.tokenizer.decode(expected, skip_special_tokens=True)
        assert one.tokens == len(expected)


class TestModelsThatTakeNoKeywordArguments:
    """Each is refused, and answers by the plain path."""

    class RefusingModel(LlamaModel):
        def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None):
            return super().forward(input_ids, attention_mask, position_ids, past_key_values, use_cache=use_cache)

    class DroppingModel(LlamaModel):
        def forward(self, *args, qllm=None, **kwargs):
            return super().forward(*args, **kwargs)

    @pytest.mark.parametrize("decoder", [RefusingModel, DroppingModel])
    def test_fall_back(self, decoder, tokenizer):
        class Model(LlamaForCausalLM):
            def forward(self, input_ids=None, use_cache=None, **_):
                hidden = self.model(input_ids=input_ids, use_cache=use_cache).last_hidden_state
                return transformers.modeling_outputs.CausalLMOutputWithPast(logits=self.lm_head(hidden))

        reference = LLAMA.model()
        model = Model(reference.config).eval()
        model.model = decoder(reference.config).eval()
        model.load_state_dict(reference.state_dict())
        engine = TorchEngine(model, tokenizer, packed=True)
        assert engine.difference(probes()) == float("inf")
        engine.packed = False
        assert scores(engine, probes()) == pytest.approx(loglikelihoods(reference, tokenizer, probes()), abs=NATS)

    def test_a_head_that_does_not_ask_its_decoder(self, tokenizer):
        class Model(LlamaForCausalLM):
            def forward(self, input_ids=None, **_):
                logits = self.lm_head(self.model.embed_tokens(input_ids))
                return transformers.modeling_outputs.CausalLMOutputWithPast(logits=logits)

        engine = TorchEngine(Model(LLAMA.model().config).eval(), tokenizer, packed=True)
        assert engine.difference(probes()) == float("inf")


class TestRotaryFrequenciesThatChangeWithTheLength:
    """Phi-3's long variants stretch positions in a pass that has a token beyond the original length."""

    @pytest.fixture
    def long_model(self):
        factors = {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
        rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": WINDOW, **factors}
        phi3 = next(family for family in FAMILIES if family.name == "phi3")
        fields = {**phi3.fields, "original_max_position_embeddings": WINDOW, "rope_parameters": rope}
        return random_model(transformers.Phi3Config(**fields))

    @pytest.mark.parametrize("packed", [True, False])
    def test_short_requests_among_themselves(self, long_model, tokenizer, packed):
        engine = TorchEngine(long_model, tokenizer, packed=packed)
        assert scores(engine, probes()) == pytest.approx(loglikelihoods(long_model, tokenizer, probes()), abs=NATS)

    @pytest.mark.parametrize("packed", [True, False])
    def test_short_requests_beside_a_long_one(self, long_model, tokenizer, packed):
        items = [*probes(), *long_items()]
        engine = TorchEngine(long_model, tokenizer, packed=packed)
        assert scores(engine, items) == pytest.approx(loglikelihoods(long_model, tokenizer, items), abs=NATS)

    def test_a_generation_that_grows_beyond_the_original_length(self, long_model, tokenizer):
        engine = TorchEngine(long_model, tokenizer, packed=True)
        _check_generations(engine, [replace(one, limit=40) for one in generations()[:4]])


def test_layers_of_different_widths(tokenizer):
    fields = LLAMA.fields | {"intermediate_size": [64, 64], "head_dim": 8, "num_kv_shared_layers": 0}
    sizes = {"vocab_size_per_layer_input": 99, "hidden_size_per_layer_input": 8, "laurel_rank": 4}
    model = random_model(transformers.Gemma3nTextConfig(**fields, **sizes))
    items = probes()
    engine = TorchEngine(model, tokenizer, packed=False)
    assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
@pytest.mark.parametrize(
    "family",
    [family for family in FAMILIES if family.name in ("llama", "gemma2", "gpt2", "deepseek-v3", "mixtral")],
    **by_name,
)
def test_the_same_on_a_gpu(family, tokenizer, monkeypatch):
    """Float32 is a little less exact there."""
    engine = TorchEngine(family.model().to("cuda"), tokenizer, packed=True)
    engine.runner.budget.slots = 3
    assert engine.runner.device.startswith("cuda")
    assert engine.difference(probes()) < TOLERANCE
    items = [*short_items(), *long_items()]
    expected = loglikelihoods(engine.model, tokenizer, items)
    assert scores(engine, items) == pytest.approx(expected, abs=TOLERANCE)
    _check_generations(engine, generations())
    _check_generations(engine, generations(**SAMPLING))

    own = engine.runner._decoder.forward

    def forward(*args, input_ids, **others):
        if input_ids.numel() > 60:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(*args, input_ids=input_ids, **others)

    monkeypatch.setattr(engine.runner._decoder, "forward", forward)
    before = engine.runner.budget.tokens
    assert scores(engine, short_items()) == pytest.approx(expected[: len(expected) - len(ANSWERS)], abs=TOLERANCE)
    assert engine.runner.budget.tokens < before
