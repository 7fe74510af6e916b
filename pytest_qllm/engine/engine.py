"""What every engine can do. Requests are texts; how tokens are batched is the engine's affair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

VERSION = 2
"""Part of the store's key: counted up whenever a change can change a score."""


@dataclass(frozen=True)
class Continuation:
    """Score ``text`` as a continuation of ``context``.

    The first ``shared`` characters of the context also begin the contexts of other items, as the shots of a few-shot
    task do: what the engine computes of them it may keep. It changes no score.
    """

    context: str
    text: str
    shared: int = 0


@dataclass(frozen=True)
class Generation:
    """Generate from ``context`` until one of ``until`` appears or ``limit`` tokens are made.

    Greedily where ``temperature`` is 0, else by sampling from the ``top_k`` likeliest tokens (0: all) within the
    ``top_p`` of probability, with a generator of its own that starts from ``seed``. ``shared`` is as for a
    ``Continuation``.
    """

    context: str
    until: tuple[str, ...]
    limit: int
    shared: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Scored:
    """Log-likelihood in nats, whether greedy decoding would give the same tokens, and how many tokens were scored."""

    loglikelihood: float
    is_greedy: bool
    tokens: int


@dataclass(frozen=True)
class Generated:
    """A generated text, cut before its stop string, its tokens in number, and whether the limit ended it."""

    text: str
    tokens: int
    hit_limit: bool


class Engine(Protocol):
    """Answers requests. A call is one batch of work: equal calls give equal answers, whatever ran before.

    Attributes:
        computed: tokens that went through the model so far.
    """

    @property
    def computed(self) -> int: ...

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        """Score the continuations of each item; those of one item usually share their context."""

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Log-likelihood of each whole text, in windows of the model's length, every token scored once."""

    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        """What is generated for each request."""
