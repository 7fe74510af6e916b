"""The two sides that answer the same items: lm-eval's `hf` backend and this project's engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psutil
from _floor import Request
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from pytest_qllm.benchmarks.lm_eval import Item
from pytest_qllm.engine.engine import Continuation, Generated, Generation, Scored
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Answers = Sequence[list[Scored] | Generated]
T = TypeVar("T")

GENERATES = "generate_until"
_SIZES = {True: (1, 4, 8, 16, 32), False: (1, 2, 4, 8, 16, 32)}
_LEAST = {True: 8, False: 16}  # rows of a batch size's trial; larger sizes are tried on one full batch
_WORSE = 1.15


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time of all threads, and of the clock."""

    cpu: float
    wall: float


class Contest:
    """A model with its tokenizer, asked by either side; each call starts without anything kept."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.seed = seed

    def ours(self, items: Sequence[Item]) -> tuple[Answers, Cost]:
        engine = TorchEngine(self.model, self.tokenizer, packed=True)
        if items[0].output_type == GENERATES:
            return _timed(lambda: engine.generations([item.generation(self.seed) for item in items]))
        return _timed(lambda: engine.continuations([item.continuations() for item in items]))

    def lm_eval(self, items: Sequence[Item], batch_size: int) -> tuple[Answers, Cost]:
        backend = self._backend(batch_size)
        generates = items[0].output_type == GENERATES
        kind = GENERATES if generates else "loglikelihood"
        instances = [
            Instance(kind, item.document, request, at) for item in items for at, request in enumerate(item.requests)
        ]
        if generates:
            texts, cost = _timed(lambda: backend.generate_until(instances, disable_tqdm=True))
            return [Generated(text, tokens=0, hit_limit=False) for text in texts], cost
        pairs, cost = _timed(lambda: backend.loglikelihood(instances, disable_tqdm=True))
        scored = iter([Scored(loglikelihood, is_greedy, tokens=0) for loglikelihood, is_greedy in pairs])
        return [[next(scored) for _ in item.requests] for item in items], cost

    def batch_sizes(self, items: Sequence[Item]) -> dict[int, float]:
        """CPU seconds of lm-eval per row for each batch size, on items of middle length, as its batches are alike.

        Sizes are tried upwards until two in a row are clearly worse than the best, or the logits would not fit in
        memory, or there are too few items.
        """
        generates = items[0].output_type == GENERATES
        ordered = sorted(items, key=lambda item: max(len(request[0]) for request in item.requests))
        longest = max(len(request.inputs) for request in self.requests(ordered[-1:]))
        tried: dict[int, float] = {}
        self.lm_eval(ordered[:1], 1)  # what torch sets up in its first calls is nobody's cost
        for size in _SIZES[generates]:
            # Logits and their log-softmax in float32, for every position; generation makes them for the last only.
            needed = 0 if generates else 3 * 4 * size * longest * self.model.config.vocab_size
            if needed > 0.8 * psutil.virtual_memory().available:
                break
            sample, rows = self._middle(ordered, max(size, _LEAST[generates]))
            if any(smaller >= rows for smaller in tried):
                break  # the last size already took all items at once
            tried[size] = self.lm_eval(sample, size)[1].cpu / rows
            if min(list(tried.values())[-2:]) > _WORSE * min(tried.values()):
                break
        return tried

    def requests(self, items: Sequence[Item], texts: Sequence[str] | None = None) -> list[Request]:
        """Tokens of each request, as lm-eval encodes them.

        Args:
            texts: what was generated, one for each item; it is counted without its stop string.
        """
        backend = self._backend(1)
        if texts is not None:
            pairs = [(item.requests[0][0], text or "\n") for item, text in zip(items, texts, strict=True)]
        elif items[0].output_type == GENERATES:
            pairs = [(item.requests[0][0], "\n") for item in items]
        else:
            pairs = [(context, text) for item in items for context, text in item.requests]
        encoded = [backend._encode_pair(context, text) for context, text in pairs]
        return [
            Request(tuple((context + targets)[-backend.max_length - 1 : -1]), len(targets))
            for context, targets in encoded
        ]

    def _middle(self, ordered: Sequence[Item], rows: int) -> tuple[list[Item], int]:
        """Neighbouring items that lm-eval computes in about that many rows, and in how many."""
        start, stop, have = len(ordered) // 2, len(ordered) // 2, 0
        while have < rows and stop - start < len(ordered):
            at = stop if stop < len(ordered) else start - 1
            start, stop = min(start, at), max(stop, at + 1)
            # Choices of one token are computed in one row: its keys are what goes into the model.
            have += len({request.inputs for request in self.requests(ordered[at : at + 1])})
        return list(ordered[start:stop]), have

    def _backend(self, batch_size: int) -> HFLM:
        with quiet():
            return HFLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size=batch_size)


class Given:
    """An engine that says what has been answered already, for ``LmEvalBenchmark.score``."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        return [answer for answer in self.answers if isinstance(answer, list)]

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        raise NotImplementedError

    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        return [answer for answer in self.answers if isinstance(answer, Generated)]


def _timed(run: Callable[[], T]) -> tuple[T, Cost]:
    with quiet():
        cpu, wall = time.process_time(), time.perf_counter()
        result = run()
        return result, Cost(time.process_time() - cpu, time.perf_counter() - wall)
