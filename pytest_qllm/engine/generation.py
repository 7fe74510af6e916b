"""Generate for many prompts at once: a prompt that is done makes room for the next, a shared prefix is kept once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from pytest_qllm.engine.attention import Kept, Slots
from pytest_qllm.engine.engine import Generated, Generation
from pytest_qllm.engine.packing import Row, leading
from pytest_qllm.engine.runner import Runner

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

_UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "bad_words_ids": (),
    "begin_suppress_tokens": ([],),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1.0,),
    "exponential_decay_length_penalty": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1.0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "min_p": (0.0,),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "sequence_bias": (),
    "suppress_tokens": ([],),
    "typical_p": (1.0,),
    "watermarking_config": (),
}
"""Settings that only transformers knows, each with the values (beside None) that change nothing."""


def unsupported(config: GenerationConfig) -> list[str]:
    """Settings of a model's own generation config that change the choice of a token and only transformers knows."""
    return [name for name, neutral in _UNSUPPORTED.items() if getattr(config, name, None) not in (None, *neutral)]


@dataclass
class Ongoing:
    """One generation: its prompt, what it has made, and how it chooses.

    Args:
        request: what was asked.
        prompt: its tokens, prefix included.
        prefix: how many of them are kept elsewhere.
    """

    request: Generation
    prompt: tuple[int, ...]
    prefix: tuple[int, ...]
    choice: Choice
    made: list[int] = field(default_factory=list)

    def row(self) -> Row:
        tokens = self.prompt[len(self.prefix) :]
        positions = tuple(range(len(self.prefix), len(self.prompt)))
        return Row(self.prefix, tokens, positions, len(tokens), (), (), ())

    @property
    def room(self) -> int:
        """Tokens that its slot has to hold; the last one made is never read again."""
        return len(self.prompt) - len(self.prefix) + self.request.limit


class Choice:
    """Chooses the next token of one generation, greedily or by its own generator.

    Scores are changed by transformers' own processors, in the order in which its ``generate`` applies them.
    """

    def __init__(self, request: Generation, repetition_penalty: float, device: str) -> None:
        from transformers import LogitsProcessorList
        from transformers.generation import logits_process as known

        self.processors = LogitsProcessorList()
        if repetition_penalty != 1.0:
            self.processors.append(known.RepetitionPenaltyLogitsProcessor(repetition_penalty))
        self.generator: torch.Generator | None = None
        if request.temperature:
            self.generator = torch.Generator(device).manual_seed(request.seed)
            if request.temperature != 1.0:
                self.processors.append(known.TemperatureLogitsWarper(request.temperature))
            if request.top_k:
                self.processors.append(known.TopKLogitsWarper(request.top_k))
            if request.top_p < 1.0:
                self.processors.append(known.TopPLogitsWarper(request.top_p))

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is the choice."""
        return self.generator is None and not self.processors

    def __call__(self, seen: Sequence[int], logits: torch.Tensor) -> int:
        """The next token after ``seen``, by its logits of shape (vocabulary,)."""
        ids = torch.tensor([seen], device=logits.device)
        scores = self.processors(ids, logits.float()[None])
        if self.generator is None:
            return int(scores.argmax())
        return int(torch.multinomial(scores.softmax(-1), 1, generator=self.generator))


class Ending:
    """Tells when a generation is over, and makes its text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.eos = frozenset(eos)

    def is_over(self, request: Generation, made: Sequence[int]) -> bool:
        return made[-1] in self.eos or len(made) >= request.limit or self.stopped(request, made)

    def stopped(self, request: Generation, made: Sequence[int]) -> bool:
        # Every token but a part of a character has a character at least, so that these reach back to the stop's begin.
        longest = max((len(stop.encode()) for stop in request.until), default=0)
        tail = self.tokenizer.decode(made[-longest - 4 :]) if longest else ""
        return any(stop in tail for stop in request.until if stop)

    def result(self, request: Generation, made: Sequence[int]) -> Generated:
        text = self.tokenizer.decode(made, skip_special_tokens=True)
        hit_limit = len(made) >= request.limit and made[-1] not in self.eos and not self.stopped(request, made)
        return Generated(cut(text, request.until), len(made), hit_limit)


def cut(text: str, until: Sequence[str]) -> str:
    """The text before its first stop string."""
    for stop in until:
        text = text.split(stop)[0] if stop else text
    return text


def generate(runner: Runner, generations: Sequence[Ongoing], ending: Ending) -> None:
    """Let every generation make its tokens. They share one prefix, and take turns in a fixed number of slots.

    Equal calls make equal tokens: which generations go on together depends on the call alone.
    """
    pending = deque(generations)
    active: list[Ongoing] = []
    slots: Slots | None = None
    count = 0
    while pending or active:
        free = count - len(active)
        if pending and (slots is None or free * 8 >= count):
            first = [pending[at] for at in range(min(len(pending), free if slots is not None else runner.budget.slots))]
            batch = [
                pending.popleft()
                for _ in range(leading([len(one.row().tokens) for one in first], runner.budget.tokens))
            ]
            rows = [one.row() for one in batch]
            read: list[tuple[torch.Tensor, Kept | None]] = []
            if not runner.fits(len(rows), partial(_read, runner, rows, read)):
                pending.extendleft(reversed(batch))
                continue
            hidden, kept = read[0]
            assert kept is not None
            if slots is None:
                length = max(one.room for one in generations)
                each = kept.bytes // sum(len(row.tokens) for row in rows) * length
                count = max(len(batch), min(runner.budget.slots, len(generations), runner.budget.kept_bytes // each))
                slots = Slots(runner.prefix(rows[0].prefix), kept, count, length)
            ends = torch.tensor([len(row.tokens) for row in rows]).cumsum(0).tolist()
            for row, end in zip(rows, ends, strict=True):
                slots.add(kept, end - len(row.tokens), end)
            active += batch
            fresh = range(len(active) - len(batch), len(active))
            _choose(runner.logits(hidden[torch.tensor(ends, device=hidden.device) - 1]), [active[at] for at in fresh])
        else:
            assert slots is not None
            slots.begin_step()
            tokens = [one.made[-1] for one in active]
            positions = [len(one.prompt) + len(one.made) - 1 for one in active]
            _choose(runner.logits(runner.hidden(tokens, positions, slots)), active)
            fresh = range(len(active))
        for at in reversed(fresh):
            if ending.is_over(active[at].request, active[at].made):
                slots.remove(at)
                active[at] = active[-1]
                active.pop()


def _read(runner: Runner, rows: Sequence[Row], into: list[tuple[torch.Tensor, Kept | None]]) -> None:
    into.append(runner.rows(rows, keep=True))


def _choose(logits: torch.Tensor, generations: Sequence[Ongoing]) -> None:
    """Append the next token to each generation, by logits of shape (generations, vocabulary)."""
    likeliest = logits.argmax(-1).tolist()
    for one, token, row in zip(generations, likeliest, logits, strict=True):
        one.made.append(token if one.choice.is_plain else one.choice([*one.prompt, *one.made], row))


def by_transformers(model: Any, prompt: Sequence[int], request: Generation, ending: Ending, **more: Any) -> list[int]:
    """The tokens that transformers' own ``generate`` makes for one prompt alone; ``more`` it is told as well.

    Stop strings are sought in the answer alone, as lm-eval does it; its own search begins in the prompt.
    """
    from transformers import StoppingCriteriaList

    def over(input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        made = input_ids[0, len(prompt) :].tolist()
        return torch.tensor([ending.stopped(request, made)], device=input_ids.device)

    tokenizer = ending.tokenizer
    ids = torch.tensor([prompt], device=model.device)
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    if request.temperature:
        options = {
            "do_sample": True,
            "temperature": request.temperature,
            "top_k": request.top_k,
            "top_p": request.top_p,
        }
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    with torch.random.fork_rng():
        torch.manual_seed(request.seed)
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=request.limit,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([over]),
            **options,
            **more,
        )
    return [int(token) for token in made[0, len(prompt) :]]
