"""What is kept, shared or put together changes no answer; what does not fit is done again in smaller parts."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite, isnan

import pytest
import torch

from engine.families import LLAMA, MAX_LENGTH, SHOTS, generated_ids, loglikelihoods, random_model, tokenizer_of
from pytest_qllm.engine import attention
from pytest_qllm.engine.budget import Budget
from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.engine.torch_engine import TorchEngine

NATS = 1e-4
MANY = 2**30
OTHER_SHOTS = "another beginning, of two items\n\n"
Items = list[list[Continuation]]


@pytest.fixture(scope="module")
def model():
    return LLAMA.model()


@pytest.fixture
def engine(model, tokenizer):
    return TorchEngine(model, tokenizer, packed=True)


@pytest.fixture
def plain(model, tokenizer):
    return TorchEngine(model, tokenizer, packed=False)


def asked(shots: str = SHOTS, count: int = 4, shared: int | None = None) -> Items:
    """Items of one beginning."""
    questions = [f"what is {word}" for word in ("one", "two and two", "there", "a b", "it", "seven", "this then", "up")]
    answers = (" a", " big dog", " big cat", " nothing at all")
    length = len(shots) if shared is None else shared
    return [[Continuation(shots + question, answer, length) for answer in answers] for question in questions[:count]]


def scores(engine: TorchEngine, items: Items) -> list[float]:
    return [one.loglikelihood for item in engine.continuations(items) for one in item]


def passes(monkeypatch, engine: TorchEngine, fits: int = MANY) -> list[int]:
    """Tokens of each pass through the decoder from now on; more than ``fits`` at once are out of memory."""
    done: list[int] = []
    own = engine.runner._decoder.forward

    def forward(*args, input_ids, **others):
        if input_ids.numel() > fits:
            raise torch.OutOfMemoryError(f"{input_ids.numel()} tokens do not fit")
        result = own(*args, input_ids=input_ids, **others)
        done.append(input_ids.numel())
        return result

    monkeypatch.setattr(engine.runner._decoder, "forward", forward)
    return done


class TestSharedBeginning:
    @pytest.mark.parametrize("shared", [0, 3, 17, 25, len(SHOTS), len(SHOTS) + 6])
    def test_changes_no_score_wherever_it_ends(self, engine, model, tokenizer, shared):
        items = asked(shared=shared)
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)
        assert len(engine.runner._prefixes) == (shared >= 17)

    def test_changes_no_greedy_answer(self, engine, plain):
        for one, other in zip(engine.continuations(asked()), plain.continuations(asked(shared=0)), strict=True):
            assert [scored.is_greedy for scored in one] == [scored.is_greedy for scored in other]
            assert [scored.tokens for scored in one] == [scored.tokens for scored in other]

    def test_is_computed_once(self, engine, monkeypatch):
        items = asked(count=8)
        done = passes(monkeypatch, engine)
        scores(engine, items)
        (prefix,) = engine.runner._prefixes
        assert done == [len(prefix), sum(done[1:])]
        apart = sum(len(request.context + request.text) for item in items for request in item)
        assert sum(done) < apart / 4
        scores(engine, items)
        assert done[2:] == done[1:2], "the second time it is there"

    def test_of_other_items_is_another_one(self, engine, model, tokenizer):
        items = [*asked(), *asked(OTHER_SHOTS), *asked()]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)
        assert len(engine.runner._prefixes) == 2

    def test_of_a_request_that_is_longer_than_the_model(self, engine, model, tokenizer):
        """It loses its beginning, which then is not there to be shared."""
        long = [[Continuation(SHOTS + "x y " * 80, answer, len(SHOTS)) for answer in (" a", " big dog")]]
        assert len(long[0][0].context) > MAX_LENGTH
        items = [*asked(), *long]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)

    def test_of_an_item_of_which_only_the_longest_choice_is_too_long(self, engine, model, tokenizer):
        context = (SHOTS + "x y " * 80)[: MAX_LENGTH - 3]
        items = [[Continuation(context, answer, len(SHOTS)) for answer in (" a", " big dog")]]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)


class TestWhateverRanBefore:
    """Equal calls give equal answers, to the last bit."""

    @pytest.fixture
    def call(self):
        items = [*asked(), *asked(OTHER_SHOTS, 2), *asked(shared=0, count=2)]
        texts = ["a text", SHOTS * 9]
        sampled = [
            Generation(SHOTS + f"say {at}", (), 4 + at, len(SHOTS), temperature=0.9, top_p=0.9, seed=at)
            for at in range(5)
        ]
        greedy = [replace(one, temperature=0.0) for one in sampled]
        return lambda engine: (engine.continuations(items), engine.rolling(texts), engine.generations(sampled + greedy))

    def test_twice(self, engine, call):
        assert call(engine) == call(engine)

    def test_twice_by_the_plain_path(self, plain, call):
        assert call(plain) == call(plain)

    def test_by_another_engine(self, engine, model, tokenizer, call):
        assert call(engine) == call(TorchEngine(model, tokenizer, packed=True))

    def test_after_other_work(self, engine, model, tokenizer, call):
        expected = call(TorchEngine(model, tokenizer, packed=True))
        engine.continuations(asked("some beginning that comes first, and is kept as well\n"))
        engine.generations([Generation("something else", (), 9)])
        engine.difference(asked(OTHER_SHOTS))
        torch.manual_seed(5)
        assert call(engine) == expected

    @pytest.mark.parametrize("kept", [0, 1, 20_000])
    def test_where_little_is_kept(self, engine, model, tokenizer, kept):
        calls = [asked(), asked(OTHER_SHOTS), asked(), [*asked(), *asked(OTHER_SHOTS), *asked()]]
        expected = [scores(TorchEngine(model, tokenizer, packed=True), items) for items in calls]
        engine.runner.budget.kept_bytes = kept
        assert [scores(engine, items) for items in calls] == expected
        assert len(engine.runner._prefixes) == 1 + (kept == 20_000)


def test_what_is_kept_stays_within_its_memory(engine):
    beginnings = [f"{word} shots of a subject of its own\n\n" for word in ("one", "two", "six", "ten", "all")]
    engine.continuations(asked(beginnings[0]))
    (each,) = (kept.bytes for kept in engine.runner._prefixes.values())
    engine.runner.budget.kept_bytes = 3 * each
    for beginning in beginnings:
        engine.continuations(asked(beginning))
        assert engine.runner._bytes() <= 3 * each
    texts = [engine.tokenizer.decode(prefix) for prefix in engine.runner._prefixes]
    assert [text[:3] for text in texts] == ["six", "ten", "all"], "those that were used last"


class TestContinuations:
    def test_none(self, engine, plain):
        assert engine.continuations([]) == plain.continuations([]) == []

    def test_answer_letters_have_their_targets_at_one_place(self, engine, model, tokenizer, monkeypatch):
        items = [
            [replace(request, text=letter) for request, letter in zip(item, "ABCD", strict=True)] for item in asked()
        ]
        sizes: list[int] = []
        own = engine.runner.logits
        monkeypatch.setattr(engine.runner, "logits", lambda hidden: (sizes.append(len(hidden)), own(hidden))[1])
        answers = engine.continuations(items)
        assert [one.loglikelihood for item in answers for one in item] == pytest.approx(
            loglikelihoods(model, tokenizer, items), abs=NATS
        )
        assert sizes == [len(items)], "the head runs once for the four letters of an item"
        assert all(sum(one.is_greedy for one in item) <= 1 for item in answers)

    def test_equal_choices_have_equal_scores(self, engine):
        (item,) = engine.continuations([[Continuation("the sky is", text) for text in (" blue", " red", " blue")]])
        assert item[0].loglikelihood == pytest.approx(item[2].loglikelihood, abs=NATS)
        assert item[0].loglikelihood != pytest.approx(item[1].loglikelihood, abs=1)

    def test_a_choice_that_another_one_begins_with(self, engine, model, tokenizer):
        items = [[Continuation("the sky is", text) for text in (" blue", " bluegreen", " b")]]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)

    def test_choices_of_different_contexts(self, engine, model, tokenizer):
        """As Winogrande has them: the choice is in the context, and the text is the same."""
        items = [[Continuation(SHOTS + name, " went to the sea", len(SHOTS)) for name in ("Anna", "Bert", "Be")]]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)

    def test_without_a_context(self, engine, model, tokenizer):
        items = [[Continuation("", "no context"), Continuation("", "no"), Continuation("", "yes")]]
        assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)

    def test_greedy_tokens_are_told(self, engine, model, tokenizer):
        made = tokenizer.decode(generated_ids(model, tokenizer, Generation("the sky is", (), 3)))
        other = made[:2] + ("a" if made[2] != "a" else "b")
        requests = [Continuation("the sky is", text) for text in (made, made[:2], other)]
        (item,) = engine.continuations([requests])
        assert [one.is_greedy for one in item] == [True, True, False]
        assert [one.tokens for one in item] == [3, 2, 3]

    def test_logits_are_made_in_blocks_that_fit(self, engine, monkeypatch):
        expected = scores(engine, asked())
        monkeypatch.setattr("pytest_qllm.engine.runner.LOGITS", 99 * 5)
        assert scores(engine, asked()) == pytest.approx(expected, abs=NATS)

    def test_rows_are_split_by_the_budget(self, engine, monkeypatch):
        items = asked(count=8)
        expected = scores(engine, items)
        engine.runner.budget.tokens = 100
        done = passes(monkeypatch, engine)
        assert scores(engine, items) == pytest.approx(expected, abs=NATS)
        assert len(done) > 2
        assert max(done) <= 100


class TestRolling:
    text = "the quick brown fox jumps over the lazy dog, and then again: " * 10

    def test_none(self, engine, plain):
        assert engine.rolling([]) == plain.rolling([]) == []

    @pytest.mark.parametrize("length", [1, 5, MAX_LENGTH - 1, MAX_LENGTH, MAX_LENGTH + 1, 2 * MAX_LENGTH, 600])
    def test_every_token_is_scored_once_behind_as_much_as_the_model_takes(self, engine, plain, model, length):
        text = self.text[:length]
        expected = self._by_hand(model, engine.tokenizer.encode(text))
        for one in (engine, plain):
            (scored,) = one.rolling([text])
            assert scored.tokens == length
            assert scored.loglikelihood == pytest.approx(expected, abs=10 * NATS)

    @torch.inference_mode()
    def _by_hand(self, model, ids: list[int]) -> float:
        """Windows of the model's length follow each other; the last one reaches back to be full."""
        total = 0.0
        for start in range(0, len(ids), MAX_LENGTH):
            stop = min(start + MAX_LENGTH, len(ids))
            inputs = [1, *ids[: stop - 1]] if start == 0 else ids[stop - 1 - MAX_LENGTH : stop - 1]
            logprobs = model(input_ids=torch.tensor([inputs]), use_cache=False).logits[0].double().log_softmax(-1)
            own = logprobs[len(inputs) - (stop - start) :]
            total += float(sum(own[at, ids[start + at]] for at in range(stop - start)))
        return total

    def test_texts_are_scored_apart(self, engine):
        texts = [self.text[:50], self.text, self.text[7:30]]
        alone = [engine.rolling([text])[0].loglikelihood for text in texts]
        assert [one.loglikelihood for one in engine.rolling(texts)] == pytest.approx(alone, abs=NATS)


class TestOutOfMemory:
    def test_the_budget_shrinks_and_what_is_done_is_not_done_again(self, engine, monkeypatch):
        items = asked(shared=0, count=8)
        expected = engine.continuations(items)
        rows = passes(monkeypatch, engine)
        engine.continuations(items)
        whole = sum(rows)
        engine.runner.budget = Budget(500, 4000)
        done = passes(monkeypatch, engine, fits=200)
        found = engine.continuations(items)
        assert sum(done) == whole
        assert max(done) <= 200
        assert 100 < engine.runner.budget.tokens <= 250
        assert engine.runner.budget.kept_bytes == 4000 * engine.runner.budget.tokens // 500
        assert [one.tokens for item in found for one in item] == [one.tokens for item in expected for one in item]
        assert [one.is_greedy for item in found for one in item] == [one.is_greedy for item in expected for one in item]
        assert [one.loglikelihood for item in found for one in item] == pytest.approx(
            [one.loglikelihood for item in expected for one in item], abs=NATS
        )

    def test_in_the_middle_keeps_what_came_before(self, engine, monkeypatch):
        """Memory runs out on the third batch, once."""
        items = asked(shared=0, count=8)
        expected = scores(engine, items)
        engine.runner.budget = Budget(150, MANY)
        done = passes(monkeypatch, engine)
        own, failed = engine.runner._decoder.forward, []

        def forward(*args, **others):
            if len(done) == 2 and not failed:
                failed.append(True)
                raise torch.OutOfMemoryError("another process took it")
            return own(*args, **others)

        monkeypatch.setattr(engine.runner._decoder, "forward", forward)
        assert scores(engine, items) == pytest.approx(expected, abs=NATS)
        assert failed
        assert engine.runner.budget.tokens == 75

    def test_of_a_shared_beginning_makes_it_anew(self, engine, monkeypatch):
        items = asked(count=8)
        expected = scores(engine, items)
        engine.runner._prefixes.clear()
        passes(monkeypatch, engine, fits=120)
        assert scores(engine, items) == pytest.approx(expected, abs=NATS)
        assert len(engine.runner._prefixes) == 1

    def test_a_row_that_alone_does_not_fit_is_an_error(self, engine, monkeypatch):
        passes(monkeypatch, engine, fits=10)
        with pytest.raises(torch.OutOfMemoryError, match="do not fit"):
            scores(engine, asked(shared=0))
        assert engine.model.config._attn_implementation == "sdpa"

    def test_of_texts(self, engine, monkeypatch):
        texts = [TestRolling.text[:length] for length in (90, 60, 100, 80, 30)]
        expected = [one.loglikelihood for one in engine.rolling(texts)]
        done = passes(monkeypatch, engine, fits=150)
        assert [one.loglikelihood for one in engine.rolling(texts)] == pytest.approx(expected, abs=NATS)
        assert sum(done) == sum(map(len, texts))

    def test_of_the_plain_path(self, plain, monkeypatch):
        expected = scores(plain, asked())
        passes(monkeypatch, plain, fits=200)
        assert scores(plain, asked()) == pytest.approx(expected, abs=NATS)

    def test_of_prompts(self, engine, monkeypatch):
        requests = [Generation(f"what is {word}", (), 4) for word in ("this", "that", "up", "down", "it")]
        expected = engine.generations(requests)
        passes(monkeypatch, engine, fits=30)
        assert engine.generations(requests) == expected


class TestDifference:
    """It compares every way through the engine with the plain one."""

    @pytest.mark.parametrize("layout", [attention.Rows, attention.Slots], ids=["scoring", "decoding"])
    def test_tells_when_attention_is_wrong(self, engine, monkeypatch, layout):
        own = layout.attend
        assert engine.difference(asked()) < 1e-3
        monkeypatch.setattr(layout, "attend", lambda *args, **others: 0.9 * own(*args, **others))
        engine.runner._prefixes.clear()
        assert engine.difference(asked()) > 1e-2

    def test_tells_when_the_head_is_wrong(self, engine, monkeypatch):
        own = engine.runner.logits
        monkeypatch.setattr(engine.runner, "logits", lambda hidden: 1.1 * own(hidden))
        assert engine.difference(asked()) > 1e-2


class TestBrokenWeights:
    """A log-likelihood that is not a number reaches whoever asked."""

    @pytest.fixture(params=[True, False], ids=["packed", "plain"])
    def broken(self, request, tokenizer):
        return TorchEngine(LLAMA.model(), tokenizer, packed=request.param)

    def test_in_the_head(self, broken):
        broken.model.lm_head.weight.data[7, 3] = float("nan")
        assert all(isnan(one) for one in scores(broken, asked()))
        assert isnan(broken.rolling(["some text"])[0].loglikelihood)
        assert not any(one.is_greedy for item in broken.continuations(asked()) for one in item)

    def test_in_one_token_reach_every_request_that_reads_it_and_no_other_item(self, broken, tokenizer):
        broken.model.model.embed_tokens.weight.data[tokenizer.encode("Z")[0]] = float("nan")
        items = [*asked(shared=0, count=2), [Continuation("the Z is", " up")], *asked(shared=0, count=2)]
        found = [[isfinite(one.loglikelihood) for one in item] for item in broken.continuations(items)]
        assert found == [[True] * 4] * 2 + [[False]] + [[True] * 4] * 2

    def test_in_a_shared_beginning_reach_every_item(self, broken, tokenizer):
        broken.model.model.embed_tokens.weight.data[tokenizer.encode("Z")[0]] = float("nan")
        assert all(isnan(one) for one in scores(broken, asked("the beginning Z of all items\n\n")))

    def test_are_told_by_the_difference(self, broken):
        broken.model.lm_head.weight.data[7, 3] = float("nan")
        assert not isfinite(broken.difference(asked()))

    @pytest.mark.parametrize("at", [0, 1, 15])
    def test_are_told_by_the_difference_wherever_they_are(self, broken, at, monkeypatch):
        """One way gives a number and the other one none, for one request."""
        own = iter([float("nan") if request == at else None for request in range(16)])
        decoded = broken._decoded
        monkeypatch.setattr(broken, "_decoded", lambda request: decoded(request) if (bad := next(own)) is None else bad)
        assert not isfinite(broken.difference(asked()))


class TestGenerations:
    def test_none(self, engine, plain):
        assert engine.generations([]) == plain.generations([]) == []

    def test_prompts_that_are_longer_than_the_model_keep_their_end(self, engine, model, tokenizer):
        context = SHOTS + "x y " * 80
        requests = [Generation(context, (), 6, len(SHOTS)), Generation(SHOTS + "why", (), 6, len(SHOTS))]
        kept = replace(requests[0], context=context[-(MAX_LENGTH - 6) :])
        for made, request in zip(engine.generations(requests), (kept, requests[1]), strict=True):
            expected = generated_ids(model, tokenizer, request)
            assert (made.text, made.tokens) == (tokenizer.decode(expected, skip_special_tokens=True), len(expected))

    def test_to_the_model_s_last_position(self, engine, model, tokenizer):
        request = Generation("ab " * 78, (), MAX_LENGTH - 3 * 78)
        expected = generated_ids(model, tokenizer, request)
        (made,) = engine.generations([request])
        assert (made.tokens, made.text) == (len(expected), tokenizer.decode(expected, skip_special_tokens=True))

    @pytest.mark.parametrize("budget", [Budget(40, 1), Budget(40, MANY, slots=3), Budget(4096, MANY, slots=2)])
    def test_slots_are_refilled(self, model, tokenizer, budget, monkeypatch):
        """Few prompts at a time, for lack of tokens, of memory, or of slots; each is read once."""
        requests = [Generation(f"{at} what is it" + " x" * (at % 3), (), 2 + 3 * at % 7) for at in range(9)]
        expected = TorchEngine(model, tokenizer, packed=True).generations(requests)
        engine = TorchEngine(model, tokenizer, packed=True)
        engine.runner.budget = budget
        done = passes(monkeypatch, engine)
        assert engine.generations(requests) == expected
        prompts = sum(len(request.context) for request in requests)
        assert sum(done) == prompts + sum(request.limit - 1 for request in requests)
        assert [one.text for one in expected] == [
            tokenizer.decode(generated_ids(model, tokenizer, request), skip_special_tokens=True) for request in requests
        ]

    def test_memory_for_slots_is_bounded(self, model, tokenizer, monkeypatch):
        from pytest_qllm.engine import generation

        engine = TorchEngine(model, tokenizer, packed=True)
        made: list[int] = []
        own = generation.Slots
        monkeypatch.setattr(
            generation,
            "Slots",
            lambda prefix, like, count, length: (made.append(count), own(prefix, like, count, length))[1],
        )
        token = 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, size, bytes
        prompt, limit = "what is", 9
        engine.runner.budget = Budget(8, 3 * token * (len(prompt) + limit))
        engine.generations([Generation(prompt, (), limit) for _ in range(7)])
        assert made == [3]


class TestEndOfText:
    """A model that ends its text: the token is that which it makes third for one of the prompts."""

    contexts = ("what is it", "who", "the sky is", "a b c", "where was the")

    @pytest.fixture
    def ended(self, tokenizer):
        model = LLAMA.model()
        third = generated_ids(model, tokenizer, Generation(self.contexts[2], (), 3))[2]
        model.generation_config.eos_token_id = third
        return model

    @pytest.mark.parametrize("as_list", [False, True])
    @pytest.mark.parametrize("shots", ["", SHOTS])
    @pytest.mark.parametrize("packed", [True, False])
    def test_in_the_middle(self, ended, tokenizer, as_list, shots, packed):
        engine = TorchEngine(ended, tokenizer, packed=packed)
        engine.runner.budget.slots = 2
        if as_list:
            ended.generation_config.eos_token_id = [2, ended.generation_config.eos_token_id]
        requests = [Generation(shots + context, (), 20, len(shots)) for context in self.contexts]
        for made, request in zip(engine.generations(requests), requests, strict=True):
            expected = generated_ids(ended, tokenizer, request)
            assert made.tokens == len(expected)
            assert made.text == tokenizer.decode(expected, skip_special_tokens=True)
            assert made.hit_limit is (len(expected) == 20)
        if not shots:
            assert engine.generations([requests[2]])[0].tokens == 3


class TestStopStrings:
    @pytest.mark.parametrize("packed", [True, False])
    def test_that_span_tokens(self, model, tokenizer, packed):
        """Each is two characters of what the model says, at a place of its own."""
        engine = TorchEngine(model, tokenizer, packed=packed)
        engine.runner.budget.slots = 2
        free = [Generation(context, (), 16) for context in TestEndOfText.contexts]
        said = [tokenizer.decode(generated_ids(model, tokenizer, one)) for one in free]
        requests = [
            replace(one, until=("never said", text[3 + at : 5 + at]))
            for at, (one, text) in enumerate(zip(free, said, strict=True))
        ]
        for made, request, text in zip(engine.generations(requests), requests, said, strict=True):
            stop = request.until[1]
            assert made.text == text.split(stop)[0]
            assert made.tokens == text.index(stop) + 2
            assert made.tokens == len(generated_ids(model, tokenizer, request))
            assert not made.hit_limit

    @pytest.mark.parametrize(
        "packed",
        [
            True,
            False,
        ],
    )
    def test_are_sought_in_the_answer_alone(self, model, tokenizer, packed):
        """As lm-eval does it."""
        context = "what is it"
        said = tokenizer.decode(generated_ids(model, tokenizer, Generation(context, (), 6)))
        (made,) = TorchEngine(model, tokenizer, packed=packed).generations([Generation(context, ("it" + said[0],), 6)])
        assert (made.text, made.tokens) == (said, 6)


class TestSettingsOfTheModel:
    """Its generation config is honoured, as transformers' ``generate`` does."""

    def generated(self, tokenizer, **settings):
        """What the packed engine and transformers make under these settings, and under none."""
        model = LLAMA.model()
        requests = [Generation(SHOTS + context, (), 12, len(SHOTS)) for context in TestEndOfText.contexts]
        without = [generated_ids(model, tokenizer, one) for one in requests]
        for name, value in settings.items():
            setattr(model.generation_config, name, value)
        expected = [generated_ids(model, tokenizer, one) for one in requests]
        assert expected != without, "the setting is without effect here"
        made = TorchEngine(model, tokenizer, packed=True).generations(requests)
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in expected]
        return [(one.text, one.tokens) for one in made], [
            (text, len(ids)) for text, ids in zip(texts, expected, strict=True)
        ]

    @pytest.mark.parametrize("penalty", [1.2, 3.0])
    def test_repetition_penalty(self, tokenizer, penalty):
        made, expected = self.generated(tokenizer, repetition_penalty=penalty)
        assert made == expected

    @pytest.mark.parametrize(
        "settings",
        [
            {"no_repeat_ngram_size": 2},
            {"suppress_tokens": list(range(3, 60))},
            {"bad_words_ids": [[at] for at in range(3, 60)]},
            {"min_new_tokens": 5, "eos_token_id": list(range(3, 60))},
            {"sequence_bias": [[[5], 30.0]]},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_that_only_transformers_knows(self, tokenizer, settings):
        made, expected = self.generated(tokenizer, **settings)
        assert made == expected

    @pytest.mark.parametrize(
        "settings",
        [
            {"no_repeat_ngram_size": 1},
            {"min_new_tokens": 1, "eos_token_id": list(range(3, 60))},
            {"num_beams": 3},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_that_are_overlooked(self, tokenizer, settings):
        made, expected = self.generated(tokenizer, **settings)
        assert made == expected

    def test_its_own_sampling_does_not_count(self, tokenizer):
        """What is asked is greedy, as lm-eval's tasks are."""
        model = LLAMA.model()
        request = Generation(SHOTS, (), 12)
        expected = TorchEngine(model, tokenizer, packed=True).generations([request])
        model.generation_config.do_sample = True
        model.generation_config.temperature, model.generation_config.top_k = 2.0, 5
        for packed in (True, False):
            assert TorchEngine(model, tokenizer, packed=packed).generations([request]) == expected


def test_a_vocabulary_that_is_larger_than_the_tokenizer_s(tokenizer):
    """As many checkpoints pad theirs."""
    import transformers

    model = random_model(transformers.LlamaConfig(**LLAMA.fields | {"vocab_size": 128}))
    items = asked()
    engine = TorchEngine(model, tokenizer_of(), packed=True)
    assert scores(engine, items) == pytest.approx(loglikelihoods(model, tokenizer, items), abs=NATS)
