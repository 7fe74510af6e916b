"""One item of a benchmark, as it is asked of an engine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pytest_qllm.engine.engine import Continuation, Generation

_GENERATION_LIMIT = 256  # lm-eval's default for a task that names none (max_gen_toks of its `hf` model)
_LIMIT_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # those that lm-eval takes
_TOP_K = 50  # transformers' default where something is sampled


@dataclass(frozen=True)
class Item:
    """One item as its task asks it.

    Attributes:
        id: hash of the document and of everything that is asked.
        output_type: lm-eval's name for the kind of request.
        document: the task's document, from which it scores the answers.
        requests: arguments of each request, as lm-eval's instances have them.
        chance: score expected of a random answer.
        subset: the subset that the item is from; empty if the benchmark has none.
        shared: leading characters of its contexts that other items of the subset begin with too.
        target: index of the right choice, or the text of the right answer, for people to read; None if there is none.
        cluster: of items that are not independent; None where it is its own.
    """

    id: str
    output_type: str
    document: dict[str, Any]
    requests: tuple[tuple[Any, ...], ...]
    chance: float
    subset: str
    shared: int = 0
    target: int | str | None = None
    cluster: str | None = None

    def continuations(self) -> list[Continuation]:
        return [Continuation(context, text, self.shared) for context, text in self.requests]

    def generation(self, seed: int) -> Generation:
        """The request of a generative task; where it samples, with a seed of the item's own."""
        context, options = self.requests[0]
        until = options.get("until") or []
        temperature = float(options.get("temperature") or 0.0)
        samples = bool(options.get("do_sample", temperature > 0))
        return Generation(
            context,
            tuple([until] if isinstance(until, str) else until),
            int(next((options[name] for name in _LIMIT_NAMES if name in options), _GENERATION_LIMIT)),
            self.shared,
            temperature=(temperature or 1.0) if samples else 0.0,
            top_k=int(options.get("top_k", _TOP_K) or 0) if samples else 0,
            top_p=float(options.get("top_p") or 1.0),
            seed=int(hashlib.sha256(f"{seed}:{self.id}".encode()).hexdigest()[:8], 16),
        )
