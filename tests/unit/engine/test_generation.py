"""When a generation is over and what its text is, and how its next token is chosen."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation import logits_process as known

from engine.families import tokenizer_of
from pytest_qllm.engine.engine import Generated, Generation
from pytest_qllm.engine.generation import Choice, Ending, cut, unsupported

quick = settings(max_examples=150, deadline=None, derandomize=True)
EOS, OTHER_EOS = 2, 1
WORDS = ("ab", "abc", " the", "\n\n")
tokenizer = tokenizer_of(WORDS)
every_byte = tokenizer_of(characters=range(256))


def asking(*until: str, limit: int = 50) -> Generation:
    return Generation("", until, limit)


def steps(request: Generation, made: list[int], ending: Ending) -> int:
    """After how many of these tokens the generation is over."""
    return next(count for count in range(1, len(made) + 1) if ending.is_over(request, made[:count]))


class TestCut:
    @pytest.mark.parametrize(
        ("until", "text"),
        [
            ((), "one. two, three. four"),
            ((".",), "one"),
            ((",", "."), "one"),
            ((".", ","), "one"),
            (("three", ", t"), "one. two, "),  # they overlap: what the first leaves does not have the second
            (("", "two"), "one. "),
            (("",), "one. two, three. four"),
            (("five",), "one. two, three. four"),
            (("one",), ""),
        ],
    )
    def test_is_before_the_first_stop_whatever_their_order(self, until, text):
        assert cut("one. two, three. four", until) == text

    @quick
    @given(st.text("ab c"), st.lists(st.text("ab c", max_size=3), max_size=3))
    @example("x abc", ["c", "bc"])
    def test_is_that_of_lm_eval(self, text, until):
        theirs = pytest.importorskip("lm_eval.models.utils").postprocess_generated_text
        assert cut(text, until) == theirs(text, until, None)


class TestEnding:
    ending = Ending(tokenizer, [EOS, OTHER_EOS])

    def made(self, text: str) -> list[int]:
        return tokenizer.encode(text)

    def test_by_the_limit(self):
        assert steps(asking(limit=3), self.made("xyzxyz"), self.ending) == 3

    @pytest.mark.parametrize("eos", [EOS, OTHER_EOS])
    def test_by_any_end_of_text(self, eos):
        assert steps(asking(), [*self.made("xy"), eos, *self.made("z")], self.ending) == 3

    def test_by_none_where_the_model_has_none(self):
        assert steps(asking(limit=4), [3, EOS, OTHER_EOS, 3, 3], Ending(tokenizer, [])) == 4

    @pytest.mark.parametrize(
        ("text", "stop", "count"),
        [
            ("xyzw", "yz", 3),  # two tokens
            ("x\n\ny", "\n", 2),  # a part of a token
            ("x abc", "b", 3),  # the middle of one
            ("xabcy", "cy", 3),  # the end of one and a whole one
            ("x thesaurus", "x the", 2),
            ("xyz" * 12, "zxy" * 9 + "z", 30),  # many tokens
        ],
    )
    def test_by_a_stop_string_however_it_lies_in_tokens(self, text, stop, count):
        assert steps(asking("never", stop), self.made(text), self.ending) == count

    def test_an_empty_stop_string_is_none(self):
        assert steps(asking("", limit=4), self.made("xyzw"), self.ending) == 4

    @quick
    @given(
        st.lists(st.sampled_from(range(3, len(tokenizer))), min_size=1, max_size=40),
        st.lists(st.text("ab c\nthe", min_size=1, max_size=12), min_size=1, max_size=3),
    )
    @example(tokenizer.encode("x abcabc the\n\n"), ["c the\n"])
    def test_by_a_stop_string_at_the_first_token_that_completes_it(self, made, until):
        request = asking(*until, limit=len(made))
        whole = [any(stop in tokenizer.decode(made[:count]) for stop in until) for count in range(1, len(made) + 1)]
        expected = whole.index(True) + 1 if True in whole else len(made)
        assert steps(request, made, self.ending) == expected

    @pytest.mark.parametrize("stop", ["é", "né", "☃", "a☃b", "😀", "é" * 20])
    @pytest.mark.parametrize("before", ["", "x", "nè☂", "xè" * 10])
    def test_by_a_stop_string_of_characters_of_several_tokens(self, before, stop):
        text = before + stop
        made = every_byte.encode(text + "more")
        ending = Ending(every_byte, [])
        assert steps(asking(stop, limit=len(made)), made, ending) == len(text.encode())
        assert ending.result(asking(stop), made).text == text.removesuffix(stop)


class TestResult:
    ending = Ending(tokenizer, [EOS])

    def result(self, text: str, *until: str, limit: int, eos: bool = False) -> Generated:
        return self.ending.result(asking(*until, limit=limit), tokenizer.encode(text) + [EOS] * eos)

    def test_that_the_limit_ended(self):
        assert self.result("xyz", limit=3) == Generated("xyz", 3, hit_limit=True)

    def test_that_ended_by_itself(self):
        assert self.result("xyz", limit=9, eos=True) == Generated("xyz", 4, hit_limit=False)

    def test_that_ended_by_itself_with_the_last_token_allowed(self):
        assert self.result("xyz", limit=4, eos=True) == Generated("xyz", 4, hit_limit=False)

    def test_that_a_stop_string_ended(self):
        assert self.result("xyz", "yz", limit=9) == Generated("x", 3, hit_limit=False)

    def test_that_a_stop_string_ended_with_the_last_token_allowed(self):
        assert self.result("xyz", "yz", limit=3) == Generated("x", 3, hit_limit=False)

    def test_that_the_limit_ended_in_the_middle_of_a_stop_string(self):
        assert self.result("xyz", "yzw", limit=3) == Generated("xyz", 3, hit_limit=True)

    def test_has_no_special_tokens(self):
        made = [*tokenizer.encode("x"), 0, *tokenizer.encode("y"), EOS]
        assert self.ending.result(asking(limit=9), made) == Generated("xy", 4, hit_limit=False)

    def test_is_cut_at_the_first_of_several_stop_strings(self):
        assert self.result("x. y, z", ",", ".", limit=99).text == "x"


LOGITS = torch.linspace(-2, 2, 30)[torch.randperm(30, generator=torch.Generator().manual_seed(0))]
SEEN = [3, 4, 5]


def sampling(seed: int = 0, **settings: float) -> Generation:
    return Generation("", (), 9, **({"temperature": 1.0} | settings), seed=seed)


def chosen(request: Generation, count: int = 200, penalty: float = 1.0) -> list[int]:
    choice = Choice(request, penalty, "cpu")
    return [choice(SEEN, LOGITS) for _ in range(count)]


class TestChoice:
    def test_greedy_is_the_likeliest(self):
        choice = Choice(asking(), 1.0, "cpu")
        assert choice.is_plain
        assert choice(SEEN, LOGITS) == int(LOGITS.argmax())

    @pytest.mark.parametrize("request_", [sampling(), sampling(temperature=0.01)])
    def test_sampling_is_not_plain(self, request_):
        assert not Choice(request_, 1.0, "cpu").is_plain

    def test_a_repetition_penalty_is_for_what_was_seen_prompt_included(self):
        likeliest, *_, second = LOGITS.argsort(descending=True)[[0, 1]].tolist()
        choice = Choice(asking(), 100.0, "cpu")
        assert not choice.is_plain
        assert choice([second], LOGITS) == likeliest
        assert choice([likeliest], LOGITS) == second

    def test_each_starts_from_its_seed(self):
        assert chosen(sampling(3)) == chosen(sampling(3)) != chosen(sampling(4))

    def test_has_a_generator_of_its_own(self):
        torch.manual_seed(1)
        first, state = chosen(sampling(3)), torch.get_rng_state()
        torch.manual_seed(2)
        second = chosen(sampling(3))
        assert first == second
        torch.manual_seed(1)
        assert torch.equal(state, torch.get_rng_state()), "the global generator is not touched"

    def test_top_k(self):
        top = LOGITS.argsort(descending=True).tolist()
        assert set(chosen(sampling(top_k=1))) == {top[0]}
        assert set(chosen(sampling(top_k=3))) == set(top[:3])
        assert len(set(chosen(sampling(top_k=0), 2000))) == len(LOGITS)

    def test_top_p(self):
        top = LOGITS.argsort(descending=True)
        cumulated = LOGITS.softmax(-1)[top].cumsum(-1)
        within = int((cumulated < 0.5).sum()) + 1
        assert set(chosen(sampling(top_p=0.5), 1000)) == set(top[:within].tolist())

    def test_temperature(self):
        def share_of_the_likeliest(temperature: float) -> float:
            return chosen(sampling(temperature=temperature), 500).count(int(LOGITS.argmax())) / 500

        for temperature in (0.5, 1.0, 2.0):
            expected = float((LOGITS / temperature).softmax(-1).max())
            assert share_of_the_likeliest(temperature) == pytest.approx(expected, abs=0.06)

    def test_changes_scores_in_the_order_of_transformers(self):
        request, penalty = sampling(5, temperature=0.7, top_k=9, top_p=0.8), 1.5
        theirs = LogitsProcessorList(
            [
                known.RepetitionPenaltyLogitsProcessor(penalty),
                known.TemperatureLogitsWarper(0.7),
                known.TopKLogitsWarper(9),
                known.TopPLogitsWarper(0.8),
            ]
        )
        generator = torch.Generator().manual_seed(5)
        scores = theirs(torch.tensor([SEEN]), LOGITS[None]).softmax(-1)
        expected = [int(torch.multinomial(scores, 1, generator=generator)) for _ in range(50)]
        assert chosen(request, 50, penalty) == expected

    def test_takes_half_precision(self):
        choice = Choice(sampling(top_k=5, top_p=0.9), 1.1, "cpu")
        assert choice(SEEN, LOGITS.bfloat16()) in LOGITS.argsort(descending=True)[:5].tolist()


class TestUnsupported:
    def test_nothing_of_a_plain_config(self):
        assert unsupported(GenerationConfig()) == []

    @pytest.mark.parametrize(
        "settings",
        [
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
            {"repetition_penalty": 1.1},
            {"eos_token_id": [1, 2], "pad_token_id": 0, "bos_token_id": 1},
            {"max_length": 20, "max_new_tokens": 5},
            {"no_repeat_ngram_size": 0, "min_length": 0, "guidance_scale": 1.0, "suppress_tokens": []},
        ],
        ids=lambda settings: next(iter(settings)),
    )
    def test_nothing_of_what_the_request_says_or_the_engine_knows(self, settings):
        assert unsupported(GenerationConfig(**settings)) == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("no_repeat_ngram_size", 3),
            ("min_new_tokens", 4),
            ("min_length", 4),
            ("min_p", 0.1),
            ("typical_p", 0.9),
            ("suppress_tokens", [5]),
            ("begin_suppress_tokens", [5]),
            ("bad_words_ids", [[5]]),
            ("sequence_bias", [[[5], 1.0]]),
            ("forced_bos_token_id", 5),
            ("forced_eos_token_id", 5),
            ("guidance_scale", 1.5),
            ("exponential_decay_length_penalty", (5, 1.1)),
        ],
    )
    def test_each_setting_that_only_transformers_knows(self, name, value):
        assert unsupported(GenerationConfig(**{name: value})) == [name]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("num_beams", 4),
            ("no_repeat_ngram_size", 1),
            ("min_new_tokens", 1),
            ("forced_bos_token_id", 1),
            ("forced_eos_token_id", 1),
            ("encoder_repetition_penalty", 1.5),
        ],
    )
    def test_settings_that_are_overlooked(self, name, value):
        assert unsupported(GenerationConfig(**{name: value})) == [name]
