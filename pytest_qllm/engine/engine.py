"""What every engine can do. Requests are texts; how tokens are batched is the engine's affair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

VERSION = 1
"""Part of the store's key: counted up whenever a change can change a score."""


@dataclass(frozen=True)
class Continuation:
    """Score ``text`` as a continuation of ``context``."""

    context: str
    text: str


@dataclass(frozen=True)
class Generation:
    """Generate from ``context``, greedily, until one of ``until`` appears or ``limit`` tokens are made."""

    context: str
    until: tuple[str, ...]
    limit: int


@dataclass(frozen=True)
class Scored:
    """Log-likelihood in nats, whether greedy decoding would give the same tokens, and how many tokens were scored."""

    loglikelihood: float
    is_greedy: bool
    tokens: int


class Engine(Protocol):
    """Answers requests. A call is one batch of work: equal calls give equal answers, whatever ran before."""

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        """Score the continuations of each item; those of one item usually share their context."""

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        """Log-likelihood of each whole text, in windows of the model's length, every token scored once."""

    def generations(self, requests: Sequence[Generation]) -> list[str]:
        """The generated text of each request, cut before its stop string."""
