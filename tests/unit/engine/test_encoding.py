"""Tokens are those that lm-eval's `hf` model makes of the same texts, and a shared beginning is never split wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import LlamaConfig

from engine.families import LLAMA, MAX_LENGTH, PRINTABLE, tokenizer_of
from pytest_qllm.engine.encoding import MIN_PREFIX, Encoder
from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.errors import QllmError

quick = settings(max_examples=100, deadline=None, derandomize=True)
SHOTS = "one and one are two, two and one are three\n\n"
WORDS = (" two", " and", "and ", "\n\n", "\n\nt", " t")
CONFIG = LlamaConfig(max_position_embeddings=MAX_LENGTH)


def encoder_of(*words: str, begins: bool = False, max_length: int = MAX_LENGTH) -> Encoder:
    tokenizer = tokenizer_of(words)
    if begins:
        tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return Encoder(tokenizer, LlamaConfig(max_position_embeddings=max_length))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "with a token before the text"])
def encoder(request):
    return encoder_of(*WORDS, begins=request.param)


@pytest.fixture(scope="module")
def theirs(encoder):
    """lm-eval's own model with the same tokenizer."""
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    return huggingface.HFLM(pretrained=LLAMA.model(), tokenizer=encoder.tokenizer, batch_size=1)


texts = st.text("t wo\nan", max_size=12)


class TestContinuation:
    @quick
    @given(context=texts, text=texts)
    @example(context="two ", text="and")
    @example(context="two\n", text="\nt")
    @example(context="<s>two", text=" and")
    def test_is_split_where_lm_eval_splits_it(self, encoder, theirs, context, text):
        assume(not context or context.strip())
        context_ids, text_ids = _by_lm_eval(theirs, context, text or "two")
        if not text_ids:
            with pytest.raises(QllmError, match="no tokens to score"):
                encoder.continuation(Continuation(context, text or "two"))
            return
        one = encoder.continuation(Continuation(context, text or "two"))
        assert one.inputs == tuple(context_ids + text_ids)[:-1]
        assert one.targets == tuple(text_ids)

    def test_without_a_context_begins_with_the_token_before_a_text(self):
        one = encoder_of().continuation(Continuation("", "ab"))
        assert one.inputs == (1, *tokens("a"))
        assert one.targets == tokens("ab")

    def test_after_spaces_alone_has_no_context_but_the_token_before_a_text(self):
        """Where the tokenizer puts none there itself; lm-eval fails on such a context."""
        one = encoder_of().continuation(Continuation("\n", "ab"))
        assert one.inputs == (1, *tokens("\na"))
        assert one.targets == tokens("\nab")

    def test_after_spaces_alone_has_the_token_that_the_tokenizer_puts_there(self):
        one = encoder_of(begins=True).continuation(Continuation("\n", "ab"))
        assert one.inputs == (1, *tokens("\na"))
        assert one.targets == tokens("\nab")

    def test_that_is_longer_than_the_model_loses_its_beginning(self):
        one = encoder_of(max_length=8).continuation(Continuation("0123456789", "abc"))
        assert one.inputs == tokens("456789ab")
        assert one.targets == tokens("abc")

    def test_whose_text_alone_is_longer_than_the_model_keeps_the_last_targets(self):
        one = encoder_of(max_length=4).continuation(Continuation("0123", "abcdefgh"))
        assert one.inputs == tokens("defg")
        assert one.targets == tokens("efgh")

    def test_of_no_tokens_is_refused(self):
        with pytest.raises(QllmError, match="no tokens to score"):
            encoder_of().continuation(Continuation("two", ""))


def tokens(text: str) -> tuple[int, ...]:
    """A token for each character, of a tokenizer without words."""
    return tuple(3 + PRINTABLE.index(ord(character)) for character in text)


def _by_lm_eval(model: Any, context: str, text: str) -> tuple[list[int], list[int]]:
    """What lm-eval's ``loglikelihood`` hands on to its model."""
    from lm_eval.api.instance import Instance

    found: list[Any] = []
    model._loglikelihood_tokens = lambda requests, **_: found.extend(requests)
    model.loglikelihood([Instance("loglikelihood", {}, (context, text), 0, ("", 0, 1))], disable_tqdm=True)
    ((_, context_ids, text_ids),) = found
    return context_ids, text_ids


class TestPrefix:
    """The tokens of what an item says is shared, less the last one, which may grow into what follows."""

    encoder = encoder_of(*WORDS)

    def prefix(self, requests: list[Continuation], encoder: Encoder | None = None) -> tuple[int, ...]:
        encoder = encoder or self.encoder
        encoded = [encoder.continuation(request) for request in requests]
        unscored = [one.inputs[: len(one.inputs) - len(one.targets) + 1] for one in encoded]
        return encoder.prefix(requests, unscored)

    def test_is_the_shared_beginning_without_its_last_token(self):
        context = SHOTS + "why"
        found = self.prefix([Continuation(context, answer, len(SHOTS)) for answer in (" a", " b")])
        assert found == tuple(self.encoder.tokenizer.encode(SHOTS))[:-1]
        assert len(found) >= MIN_PREFIX

    def test_leaves_out_a_token_that_grows_into_what_follows(self):
        """The shots end in a token for two newlines, which becomes another one before a t."""
        found = self.prefix([Continuation(SHOTS + "two", " a", len(SHOTS))])
        assert found == self.prefix([Continuation(SHOTS + "why", " a", len(SHOTS))]) != ()
        whole = tuple(self.encoder.tokenizer.encode(SHOTS + "two"))
        assert whole[: len(found)] == found
        assert whole[len(found)] != self.encoder.tokenizer.encode(SHOTS)[-1], "it grew"

    @pytest.mark.parametrize("shared", [0, MIN_PREFIX])
    def test_is_none_where_nothing_or_too_little_is_shared(self, shared):
        encoder = encoder_of()
        assert self.prefix([Continuation("a" * 40, "b", shared)], encoder) == ()
        assert self.prefix([Continuation("a" * 40, "b", MIN_PREFIX + 1)], encoder) == tokens("a" * MIN_PREFIX)

    def test_is_none_for_an_item_whose_tokens_do_not_begin_with_it(self):
        """In the context as a whole more than the last token of the shared part is another one."""
        encoder = encoder_of("zw", "y|zw", "xy")
        shared = "a" * 30 + "xyz"
        assert encoder.tokenizer.tokenize("xyz") == ["xy", "z"]
        assert encoder.tokenizer.tokenize("xyzw") == ["x", "yzw"]
        one, other = (Continuation(shared + ending, "b", len(shared)) for ending in ("q", "w"))
        assert self.prefix([one], encoder) == tuple(encoder.tokenizer.encode("a" * 30 + "xy"))
        assert self.prefix([other], encoder) == ()
        assert self.prefix([one, other], encoder) == ()

    def test_is_none_where_a_token_of_it_would_be_scored(self):
        """Spaces at the end of a context belong to what is scored."""
        encoder = encoder_of()
        assert self.prefix([Continuation("a" * 30, "b", 30)], encoder) == tokens("a" * 29)
        assert self.prefix([Continuation("a" * 30 + " ", "b", 31)], encoder) == ()
        assert self.prefix([Continuation("a" * 30 + "   ", "b", 33)], encoder) == ()

    def test_is_none_for_a_request_that_lost_its_beginning(self):
        long = Continuation(SHOTS + "why " * MAX_LENGTH, " a", len(SHOTS))
        short = Continuation(SHOTS + "why", " a", len(SHOTS))
        assert self.prefix([long]) == ()
        assert self.prefix([short, long]) == ()
        assert self.prefix([short]) != ()

    def test_is_by_the_request_that_shares_the_least(self):
        encoder = encoder_of()
        requests = [Continuation("a" * 40, "b", shared) for shared in (40, 30)]
        assert self.prefix(requests, encoder) == tokens("a" * 29)
        assert self.prefix([*requests, Continuation("a" * 40, "b")], encoder) == ()

    @quick
    @given(st.integers(0, 80), st.text("two and\n", min_size=24, max_size=60), st.text("twoan\n", min_size=1))
    def test_every_request_begins_with_it_and_needs_none_of_it_scored(self, shared, context, text):
        requests = [Continuation(context, text + end, min(shared, len(context))) for end in ("w", "o", " an")]
        encoded = [self.encoder.continuation(request) for request in requests]
        found = self.prefix(requests)
        assert found == () or len(found) >= MIN_PREFIX
        for one in encoded:
            assert one.inputs[: len(found)] == found
            assert len(one.inputs) - len(one.targets) >= len(found)

    def test_depends_on_the_item_alone(self):
        """Encoded after any other items, by any encoder, it is the same."""
        items = [
            [Continuation(SHOTS + question, answer, shared) for answer in (" a", " b")]
            for question, shared in (("why", 44), ("two", 44), ("who", 0), ("what", 40), ("t" * 300, 44))
        ]
        alone = [self.prefix(item, encoder_of(*WORDS)) for item in items]
        company = encoder_of(*WORDS)
        assert [self.prefix(item, company) for item in items] == alone
        assert [self.prefix(item, company) for item in reversed(items)] == alone[::-1]

    def test_of_a_generation_leaves_a_token_to_begin_with(self):
        request = Generation("a" * 40, (), 8, shared=40)
        encoder = encoder_of()
        assert encoder.prefix([request], [encoder.prompt(request)]) == tokens("a" * 39)


class TestPrompt:
    def test_is_the_whole_context_where_it_fits(self):
        assert encoder_of().prompt(Generation("two", (), 8)) == tokens("two")

    def test_keeps_its_end_where_the_answer_needs_room(self):
        assert encoder_of(max_length=8).prompt(Generation("0123456789", (), 3)) == tokens("56789")
        assert encoder_of(max_length=8).prompt(Generation("01234", (), 3)) == tokens("01234")

    def test_of_nothing_is_the_token_before_a_text(self):
        assert encoder_of().prompt(Generation("", (), 3)) == (1,)
        assert encoder_of(begins=True).prompt(Generation("", (), 3)) == (1,)

    @pytest.mark.parametrize("limit", [8, 9, 1000])
    def test_with_no_room_for_a_token_of_it_is_refused_in_one_line(self, limit):
        with pytest.raises(QllmError) as caught:
            encoder_of(max_length=8).prompt(Generation("two", (), limit))
        message = str(caught.value)
        assert "\n" not in message
        assert message == f"a generation of {limit} tokens does not fit the model's length of 8 tokens"

    def test_of_one_token_is_the_least(self):
        assert encoder_of(max_length=8).prompt(Generation("two", (), 7)) == tokens("o")


class TestWindows:
    @quick
    @given(st.integers(0, 60), st.integers(2, 20))
    def test_each_token_is_a_target_once_and_in_order(self, length, max_length):
        encoder = encoder_of(max_length=max_length)
        text = ("0123456789abcdefghijklmnopqrstuvwxyz" * 2)[:length]
        windows = encoder.windows(text)
        assert tuple(token for one in windows for token in one.targets) == tokens(text)
        assert all(len(one.inputs) <= max_length for one in windows)

    def test_by_hand(self):
        first, second, last = encoder_of(max_length=4).windows("0123456789")
        assert (first.inputs, first.targets) == ((1, *tokens("012")), tokens("0123"))
        assert (second.inputs, second.targets) == (tokens("3456"), tokens("4567"))
        assert (last.inputs, last.targets) == (tokens("5678"), tokens("89"))


def test_a_tokenizer_without_a_token_before_a_text_is_refused_where_one_is_needed():
    tokenizer = tokenizer_of()
    tokenizer.bos_token = tokenizer.eos_token = None
    encoder = Encoder(tokenizer, CONFIG)
    with pytest.raises(QllmError, match="neither a beginning-of-text nor an end-of-text token"):
        encoder.continuation(Continuation("", "two"))
