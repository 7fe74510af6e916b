"""llama.cpp with converted tiny models answers as transformers does, and each item alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'pytest-qllm[llama]'")

from engine.families import FAMILIES, MAX_LENGTH, SHOTS, random_model, tokenizer_of
from pytest_qllm.engine.divergence import Divergence, States
from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.engine.llama_engine import LlamaEngine
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.gguf_convert import convert

VOCABULARY = 128
"""Transformers gives some families' tokenizers a token more."""

NATS = 0.1
"""Of log-likelihoods of -10 to -60: llama.cpp keeps keys and values in float16. A wrong rotation moves them by ten."""

TEXTS = ["the cat sat on the mat " * 30, "hello there"]
Items = list[list[Continuation]]


def saved(directory: Path, family: str = "llama", **fields: object) -> Path:
    """A checkpoint with its conversion beside it."""
    found = next(one for one in FAMILIES if one.name == family)
    config = getattr(transformers, found.config)(**found.fields | {"vocab_size": VOCABULARY} | fields)
    random_model(config).save_pretrained(directory)
    tokenizer_of().save_pretrained(directory)
    convert(directory, directory / "model.gguf")
    return directory


def torch_engine(checkpoint: Path) -> TorchEngine:
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    return TorchEngine(model, transformers.AutoTokenizer.from_pretrained(checkpoint), packed=True)


def llama_engine(checkpoint: Path, threads: int = 1) -> LlamaEngine:
    return LlamaEngine(checkpoint / "model.gguf", checkpoint, threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def reference(checkpoint) -> TorchEngine:
    return torch_engine(checkpoint)


@pytest.fixture
def engine(checkpoint) -> LlamaEngine:
    return llama_engine(checkpoint)


def asked(count: int = 4, shots: str = SHOTS) -> Items:
    questions = [f"what is {word}" for word in ("one", "two and two", "there", "a b", "it", "seven", "this then", "up")]
    answers = (" a", " big dog", " big cat", " nothing at all")
    return [[Continuation(shots + question, one, len(shots)) for one in answers] for question in questions[:count]]


def scores(engine: LlamaEngine | TorchEngine, items: Items) -> list[float]:
    return [one.loglikelihood for item in engine.continuations(items) for one in item]


def prompts() -> list[Generation]:
    return [
        Generation("hello the", ("z",), 20),
        Generation(SHOTS + "x", (), 12, shared=len(SHOTS)),
        Generation("ab", (), 10, temperature=0.8, top_k=5, seed=3),
    ]


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 32,
                    "rope_theta": 10000.0,
                }
            },
        ),
        ("mistral", {"sliding_window": None, "head_dim": 16}),
        ("qwen2", {}),
        ("qwen3", {}),
    ],
    ids=["llama", "tied-biased", "linear-rope", "llama3-rope", "mistral", "qwen2", "qwen3"],
)
def test_a_converted_model_answers_as_transformers_does(tmp_path, family, fields):
    checkpoint = saved(tmp_path, family, **fields)
    reference, engine = torch_engine(checkpoint), llama_engine(checkpoint)
    assert scores(engine, asked()) == pytest.approx(scores(reference, asked()), abs=NATS)
    for own, expected in zip(engine.rolling(TEXTS), reference.rolling(TEXTS), strict=True):
        assert own.tokens == expected.tokens
        assert own.loglikelihood == pytest.approx(expected.loglikelihood, abs=NATS * max(1, expected.tokens / 20))
    assert engine.generations(prompts()) == reference.generations(prompts())


class TestContinuations:
    def test_are_greedy_where_the_model_would_say_them(self, engine, reference):
        first = reference.generations([Generation("hello", (), 3)])[0].text
        items = [[Continuation("hello", first), Continuation("hello", first[:-1] + "~")]]
        assert [one.is_greedy for one in engine.continuations(items)[0]] == [True, False]

    def test_of_one_token_need_no_branch(self, engine, reference):
        items = [[Continuation("answer:", letter) for letter in "ABCD"]]
        assert scores(engine, items) == pytest.approx(scores(reference, items), abs=NATS)
        assert engine.computed == len("answer:")

    def test_without_a_context_begin_the_text(self, engine, reference):
        items = [[Continuation("", "hello"), Continuation("", "it")]]
        assert scores(engine, items) == pytest.approx(scores(reference, items), abs=NATS)

    def test_longer_than_the_model_lose_their_beginning(self, engine, reference):
        items = [[Continuation("a b c " * MAX_LENGTH, " end"), Continuation("a b c " * MAX_LENGTH, " of it all")]]
        assert scores(engine, items) == pytest.approx(scores(reference, items), abs=NATS)

    def test_of_more_choices_than_one_context_holds(self, engine, reference):
        items = [[Continuation("pick", f" {at} of them") for at in range(300)]]
        assert scores(engine, items) == pytest.approx(scores(reference, items), abs=NATS)

    def test_compute_what_is_shared_once(self, engine, reference):
        before = reference.computed
        scores(engine, asked(8))
        scores(reference, asked(8))
        assert engine.computed == reference.computed - before


class TestCompany:
    def test_changes_no_bit(self, checkpoint, engine):
        items = [*asked(4), *asked(2, "another beginning, of two items\n\n"), [Continuation("alone", " it is")]]
        expected = [scores(llama_engine(checkpoint), [item]) for item in items]
        for order in (list(range(len(items))), [6, 4, 0, 5, 2, 1, 3]):
            found = engine.continuations([items[at] for at in order])
            assert [[one.loglikelihood for one in item] for item in found] == [expected[at] for at in order]

    def test_nor_does_a_larger_context(self, engine):
        before = scores(engine, asked())
        engine.rolling(TEXTS)
        engine.continuations([[Continuation("pick", f" {at} of them") for at in range(120)]])
        assert scores(engine, asked()) == before

    def test_nor_do_threads(self, checkpoint, engine):
        other = llama_engine(checkpoint, threads=2)
        assert scores(other, asked()) == scores(engine, asked())
        assert other.rolling(TEXTS) == engine.rolling(TEXTS)
        assert other.generations(prompts()) == engine.generations(prompts())

    def test_changes_no_generation(self, checkpoint, engine):
        alone = [llama_engine(checkpoint).generations([one])[0] for one in prompts()]
        assert engine.generations(prompts()[::-1])[::-1] == alone


class TestGenerations:
    def test_end_at_a_stop_string_at_the_limit_or_at_the_end_of_text(self, checkpoint, reference, tmp_path):
        (whole,) = reference.generations([Generation("hello", (), 8)])
        shutil.copytree(checkpoint, tmp_path / "copy")
        engine = llama_engine(tmp_path / "copy")
        stop = whole.text[4]
        stopped, limited = engine.generations([Generation("hello", (stop,), 8), Generation("hello", (), 3)])
        assert stopped == replace(whole, text=whole.text.split(stop)[0], tokens=stopped.tokens, hit_limit=False)
        assert (limited.text, limited.tokens, limited.hit_limit) == (whole.text[:3], 3, True)
        end = engine.tokenizer.convert_tokens_to_ids(engine.tokenizer.tokenize(whole.text[2]))[0]
        transformers.GenerationConfig(eos_token_id=end).save_pretrained(tmp_path / "copy")
        (ended,) = llama_engine(tmp_path / "copy").generations([Generation("hello", (), 8)])
        assert not ended.hit_limit
        assert ended.tokens == whole.text.index(whole.text[2]) + 1

    def test_heed_the_model_s_repetition_penalty(self, checkpoint, tmp_path):
        shutil.copytree(checkpoint, tmp_path / "copy")
        transformers.GenerationConfig(repetition_penalty=5.0).save_pretrained(tmp_path / "copy")
        request = [Generation("aaaa", (), 24)]
        found = llama_engine(tmp_path / "copy").generations(request)
        assert found == torch_engine(tmp_path / "copy").generations(request)
        assert found != llama_engine(checkpoint).generations(request)

    def test_are_refused_where_only_transformers_knows_how(self, checkpoint, tmp_path):
        shutil.copytree(checkpoint, tmp_path / "copy")
        transformers.GenerationConfig(no_repeat_ngram_size=2).save_pretrained(tmp_path / "copy")
        with pytest.raises(QllmError, match="generates with no_repeat_ngram_size, which only transformers knows"):
            llama_engine(tmp_path / "copy").generations([Generation("a", (), 2)])


class TestObserved:
    def test_positions_of_the_same_weights_do_not_diverge(self, engine, reference):
        states = States()
        reference.rolling(TEXTS, states)
        head = reference.model.get_output_embeddings()
        for one, limit in ((reference, 1e-9), (engine, 1e-3)):
            divergence = Divergence(states.tensor(), one.baseline_logits(head))
            scored = one.rolling(TEXTS, divergence)
            found = divergence.tensor()
            assert found.shape == (sum(text.tokens for text in scored), 4)
            assert float(found[:, 0].mean()) < limit
            assert float(found[:, 1].mean()) > 0.98
            assert float(found[:, 3].log().sum()) == pytest.approx(sum(text.loglikelihood for text in scored), rel=1e-4)

    def test_the_baseline_s_logits_are_the_same_from_both_engines(self, engine, reference):
        states = States()
        reference.rolling(TEXTS, states)
        head = reference.model.get_output_embeddings()
        own, expected = (one.baseline_logits(head)(states.tensor()) for one in (engine, reference))
        assert torch.equal(own, expected)

    def test_a_shorter_vocabulary_is_compared_up_to_its_end(self):
        baseline, candidate = torch.randn(3, 10), torch.randn(3, 8)
        divergence = Divergence(torch.zeros(3, 1), lambda _: baseline)
        divergence.see(None, candidate, torch.tensor([0, 1, 2]))
        same = Divergence(torch.zeros(3, 1), lambda _: baseline[:, :8])
        same.see(None, candidate, torch.tensor([0, 1, 2]))
        assert torch.equal(divergence.tensor(), same.tensor())


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"num_hidden_layers": 3}, r"has 3 layers, the baseline 2: it is no quantization of this model"),
            ({"hidden_size": 64}, r"has 64 hidden units, the baseline 32"),
            ({"vocab_size": 50}, r"has 50 tokens, the baseline's tokenizer 99"),
        ],
    )
    def test_another_model_s_file(self, checkpoint, tmp_path, fields, why):
        other = saved(tmp_path, **fields)
        with pytest.raises(QllmError, match=why):
            LlamaEngine(other / "model.gguf", checkpoint, 1)

    def test_a_file_that_is_cut_off(self, checkpoint, tmp_path):
        (tmp_path / "cut.gguf").write_bytes((checkpoint / "model.gguf").read_bytes()[:5000])
        with pytest.raises(QllmError, match=r"llama.cpp cannot load .*cut.gguf \(.*\)"):
            LlamaEngine(tmp_path / "cut.gguf", checkpoint, 1)

    def test_a_file_with_other_tokens(self, checkpoint, tmp_path):
        vocabulary = tokenizer_of().get_vocab()
        words = sorted(vocabulary, key=lambda word: vocabulary[word])
        write_vocabulary(tmp_path / "own.gguf", checkpoint / "model.gguf", words)
        LlamaEngine(tmp_path / "own.gguf", checkpoint, 1)
        words[10] = "elsewhere"
        write_vocabulary(tmp_path / "other.gguf", checkpoint / "model.gguf", words)
        with pytest.raises(QllmError, match=r"token 10 is 'elsewhere' in .*other.gguf and .* in the baseline's tok"):
            LlamaEngine(tmp_path / "other.gguf", checkpoint, 1)


def write_vocabulary(file: Path, source: Path, words: list[str]) -> None:
    """A copy of a GGUF file with a byte-level vocabulary of those words."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(file, "llama")
    for name, field in reader.fields.items():
        if name.startswith("llama."):
            writer.add_key_value(name, field.contents(), field.types[0])
    padded = [*words, *(f"[PAD{at}]" for at in range(len(words), VOCABULARY))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(padded)
    writer.add_token_types([gguf.TokenType.NORMAL] * VOCABULARY)
    writer.add_token_merges(["a b"])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
