"""A language model of 120,000 weights that knows its benchmarks, because they are written from its own answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pytest_qllm.benchmarks.data.manifest import Manifest, fingerprint, write_own

WORDS = [consonant + vowel for consonant in "bdfgklmnpr" for vowel in "ao"]
LAMBADA = 120
UNANSWERABLE = 12
STORIES = 12
QUESTIONS = 48

Documents = list[dict[str, Any]]


def write_model(directory: Path) -> None:
    """An FP16 checkpoint in safetensors, with a byte-level tokenizer in which every word of ``WORDS`` is one token."""
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=304,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data = 0.25 * torch.randn(weight.shape, generator=generator)
    # It speaks in words: whatever it has read, the likeliest token is one of them.
    others = [at for at in range(config.vocab_size) if at not in _word_tokens(tokenizer)]
    model.lm_head.weight.data[others] *= 0.02
    model.half().save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def write_data(directory: Path, model: Path) -> None:
    """``DIR/BENCHMARK/SPLIT.jsonl`` for three benchmarks; the model is right by construction, or at chance."""
    author = _Author(model)
    write_documents(directory / "lambada/test.jsonl", author.last_words())
    write_documents(directory / "story_perplexity/validation.jsonl", author.stories())
    write_documents(directory / "arc_easy/validation.jsonl", author.riddles())


def write_documents(file: Path, documents: Iterable[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(document) + "\n" for document in documents))
    write_manifest(file.parent)


def write_manifest(folder: Path) -> None:
    """Say that the items of a folder are the ones that are meant; of a known benchmark others are refused."""
    found = {file.stem: fingerprint(map(json.loads, file.read_text().splitlines())) for file in folder.glob("*.jsonl")}
    write_own(folder, Manifest("invented by the tests", "", {"": found}))


class _Author:
    """Writes texts whose continuation the model knows."""

    def __init__(self, directory: Path) -> None:
        self.model = LlamaForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(directory)
        self.generator = torch.Generator().manual_seed(1)
        self.known = [self.tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in WORDS]

    def last_words(self) -> Documents:
        """Texts whose last word is the model's own by a wide margin, and a few that nobody could end."""
        contexts = [self._words(12) for _ in range(6 * LAMBADA)]
        best = self._logits(contexts).topk(2)
        sure = (best.values[:, 0] - best.values[:, 1] > 1).nonzero()[:LAMBADA, 0].tolist()
        assert len(sure) == LAMBADA
        answers = [self.known.index(int(best.indices[at, 0])) for at in sure]
        wrong = [(answer + 1) % len(WORDS) for answer in answers[:UNANSWERABLE]]
        last = [WORDS[answer] for answer in (*wrong, *answers[UNANSWERABLE:])]
        return [{"text": " ".join([*contexts[at], word])} for at, word in zip(sure, last, strict=True)]

    def stories(self) -> Documents:
        """Texts sampled from the model: whatever changes it makes them less likely."""
        stories = [self._words(1) for _ in range(STORIES)]
        for _ in range(60):
            odds = self._logits(stories)[:, self.known].softmax(-1)
            for story, word in zip(stories, torch.multinomial(odds, 1, generator=self.generator), strict=True):
                story.append(WORDS[int(word)])
        return [{"story": " ".join(story)} for story in stories]

    def riddles(self) -> Documents:
        """Questions whose answers are random."""
        return [self._riddle() for _ in range(QUESTIONS)]

    def _riddle(self) -> dict[str, Any]:
        order = torch.randperm(len(WORDS), generator=self.generator)[:4]
        right = int(torch.randint(4, (1,), generator=self.generator))
        choices = {"text": [WORDS[at] for at in order], "label": list("ABCD")}
        return {"question": " ".join(self._words(8)), "choices": choices, "answerKey": "ABCD"[right]}

    def _words(self, count: int) -> list[str]:
        return [WORDS[at] for at in torch.randint(len(WORDS), (count,), generator=self.generator)]

    @torch.inference_mode()
    def _logits(self, texts: list[list[str]]) -> torch.Tensor:
        """Of the next token, shape (texts, vocabulary); all texts are of one length."""
        ids = [self.tokenizer.encode(" ".join(words)) for words in texts]
        return self.model(torch.tensor(ids)).logits[:, -1]


def _tokenizer() -> PreTrainedTokenizerFast:
    merges = [merge for word in WORDS for merge in ((word[0], word[1]), ("Ġ", word))]
    symbols = ["<bos>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    vocabulary = {symbol: at for at, symbol in enumerate(symbols)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", model_max_length=512
    )


def _word_tokens(tokenizer: PreTrainedTokenizerFast) -> set[int]:
    return {tokenizer.convert_tokens_to_ids(f"Ġ{word}") for word in WORDS}
