"""Score and generate with a GGUF model by llama.cpp's own kernels, in tokens of the FP16 checkpoint's tokenizer.

The cache of keys and values is in float16, which is llama.cpp's default. One item is computed at a time, so that its
scores do not depend on others; what its requests share is computed once, and a few-shot prefix once for all items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pytest_qllm.engine.divergence import Observer
from pytest_qllm.engine.encoding import Encoder
from pytest_qllm.engine.engine import Continuation, Generated, Generation, Scored
from pytest_qllm.engine.generation import Choice, Ending, unsupported
from pytest_qllm.engine.llama_runner import SEQUENCES, LlamaRunner, Token
from pytest_qllm.engine.packing import Row, pack
from pytest_qllm.engine.runner import head_logits
from pytest_qllm.engine.scoring import score_blocks, total
from pytest_qllm.errors import QllmError
from pytest_qllm.models.loader import load_config, load_tokenizer
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase


class LlamaEngine:
    """An ``Engine`` over a GGUF file.

    Args:
        file: the GGUF file; the first of several shards.
        model: the FP16 checkpoint that it is a quantization of.
        threads: of llama.cpp.

    Raises:
        QllmError: if llama.cpp cannot load the file, or it does not fit the checkpoint.
    """

    def __init__(self, file: Path, model: Path, threads: int) -> None:
        self.model = model
        self.config = load_config(model)
        self.tokenizer = load_tokenizer(model)
        self.encoder = Encoder(self.tokenizer, self.config)
        self.runner = LlamaRunner(file, threads)
        _check_fits(self.runner, self.config, self.tokenizer)

    @property
    def computed(self) -> int:
        return self.runner.computed

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        results = []
        for requests in items:
            encoded = [self.encoder.continuation(request) for request in requests]
            unscored = [one.inputs[: len(one.inputs) - len(one.targets) + 1] for one in encoded]
            prefix = self.encoder.prefix(requests, unscored)
            most = SEQUENCES - 1  # one holds the prefix
            groups = [encoded[start : start + most] for start in range(0, len(encoded), most)]
            results.append([scored for group in groups for scored in self._score(pack(group, prefix))])
        return results

    def rolling(self, texts: Sequence[str], observer: Observer | None = None) -> list[Scored]:
        """As the protocol says; ``observer`` sees the logits of every scored position, in order."""
        windows = [self.encoder.windows(text) for text in texts]
        return [total([self._score(pack([one]), observer)[0] for one in text]) for text in windows]

    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        unknown = unsupported(self._generation)
        if unknown:
            raise QllmError(
                f"{self.model} generates with {unknown[0]}, which only transformers knows: a GGUF regime cannot be "
                "compared with it"
            )
        eos = self._generation.eos_token_id
        ending = Ending(self.tokenizer, [eos] if isinstance(eos, int) else eos or [])
        return [ending.result(request, self._generated(request, ending)) for request in requests]

    def baseline_logits(self, head: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """As ``Observable`` says: by a model of the checkpoint's class that has this head and no other weights."""
        from transformers import AutoModelForCausalLM

        with quiet(), torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(self.config).eval()
        shell.set_output_embeddings(head)

        @torch.inference_mode()
        def logits(hidden: torch.Tensor) -> torch.Tensor:
            return head_logits(shell, hidden)

        return logits

    def _score(self, row: Row, observer: Observer | None = None) -> list[Scored]:
        places = [place for scored in row.scored for place in scored]
        targets = [token for wanted in row.targets for token in wanted]
        unique, which = torch.unique(torch.tensor(places), return_inverse=True)
        tokens, branches = _tokens(row, frozenset(unique.tolist()))
        self.runner.begin(row.prefix, branches, len(tokens))

        def see(_: int, logits: torch.Tensor, wanted: torch.Tensor) -> None:
            if observer is not None:
                observer.see(None, logits, wanted)

        chosen, is_likeliest = score_blocks(_counted(self.runner.read(tokens)), which, torch.tensor(targets), see)
        results, at = [], 0
        for wanted in row.targets:
            stop = at + len(wanted)
            results.append(Scored(sum(chosen[at:stop]), all(is_likeliest[at:stop]), len(wanted)))
            at = stop
        return results

    def _generated(self, request: Generation, ending: Ending) -> list[int]:
        prompt = self.encoder.prompt(request)
        prefix = self.encoder.prefix([request], [prompt])
        choice = Choice(request, self._generation.repetition_penalty or 1.0, "cpu")
        self.runner.begin(prefix, 1, len(prompt) - len(prefix) + request.limit)
        last = len(prompt) - 1
        fresh = [Token(prompt[at], at, (1,), at == last) for at in range(len(prefix), len(prompt))]
        made: list[int] = []
        while not made or not ending.is_over(request, made):
            (logits,) = self.runner.read(fresh)
            made.append(int(logits[0].argmax()) if choice.is_plain else choice([*prompt, *made], logits[0]))
            fresh = [Token(made[-1], last + len(made), (1,), True)]
        return made

    @cached_property
    def _generation(self) -> GenerationConfig:
        from transformers import GenerationConfig

        if (self.model / "generation_config.json").is_file():
            return GenerationConfig.from_pretrained(self.model)
        return GenerationConfig.from_model_config(self.config)


def _tokens(row: Row, wanted: frozenset[int]) -> tuple[list[Token], int]:
    """A row for llama.cpp, and how many sequences it has.

    Each branch with tokens is a sequence of its own; what is shared belongs to all of them.
    """
    branches = [branch for branch in row.branches if branch[1] > branch[0]]
    everyone = range(1, max(1, len(branches)) + 1)
    sequences: list[Sequence[int]] = [everyone] * row.shared
    for number, (start, stop) in enumerate(branches, 1):
        sequences += [(number,)] * (stop - start)
    parts = zip(row.tokens, row.positions, sequences, strict=True)
    return [Token(*part, at in wanted) for at, part in enumerate(parts)], len(everyone)


def _counted(blocks: Iterator[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
    start = 0
    for block in blocks:
        yield start, block
        start += len(block)


def _check_fits(runner: LlamaRunner, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a file of another architecture or vocabulary than the checkpoint's.

    Raises:
        QllmError: names the first difference.
    """
    file = runner.file
    if runner.is_recurrent:
        raise QllmError(
            f"{file} has recurrent layers, whose state llama.cpp cannot share between the choices of an item"
        )
    for what, own, expected in (
        ("layers", runner.layers, config.num_hidden_layers),
        ("hidden units", runner.width, config.hidden_size),
    ):
        if own != expected:
            raise QllmError(f"{file} has {own} {what}, the baseline {expected}: it is no quantization of this model")
    vocabulary = tokenizer.get_vocab()
    highest = max(vocabulary.values())
    if highest >= runner.vocabulary:
        raise QllmError(f"{file} has {runner.vocabulary} tokens, the baseline's tokenizer {highest + 1}")
    texts = runner.texts()
    added = set(tokenizer.added_tokens_decoder)  # converters write these in ways of their own
    for text, at in vocabulary.items() if texts is not None else ():
        if at not in added and texts is not None and texts[at] != text:
            raise QllmError(f"token {at} is {texts[at]!r} in {file} and {text!r} in the baseline's tokenizer")
