"""How fast this machine measured: tokens and seconds of earlier measurements, added up in the store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from pytest_qllm.store import Store, digest


@dataclass(frozen=True)
class Speeds:
    """Rates of one checkpoint in one dtype on one processor.

    Attributes:
        store: where they are kept.
        identity: what they depend on, as JSON content.
        threads: of this process, among the machine's cores; a run with several workers gives each a share of them.
    """

    store: Store
    identity: Any
    threads: int

    def add(self, what: str, kind: str, tokens: int, seconds: float) -> None:
        """A chunk was measured.

        Args:
            what: ``dense``, or the regime whose kernels were run.
            kind: of request; to generate a token takes longer than to score one.
            tokens: computed.
            seconds: in this process.
        """
        place = self._place(what, kind)
        # As if the whole machine had done it, so that a plan for any number of workers can use it.
        seconds *= min(1.0, self.threads / _cores())
        with self.store.lock("-".join(place)):
            known = self.store.read(*place) or {"tokens": 0, "seconds": 0.0}
            self.store.write({"tokens": known["tokens"] + tokens, "seconds": known["seconds"] + seconds}, *place)

    def seconds(self, what: str, kind: str, tokens: int) -> float | None:
        """How long this machine takes for so many tokens, or None where nothing of that kind was measured on it."""
        if tokens == 0:
            return 0.0
        known = self.store.read(*self._place(what, kind))
        if not known or not known["tokens"]:
            return None
        return float(tokens * known["seconds"] / known["tokens"])

    def _place(self, what: str, kind: str) -> tuple[str, str]:
        kind = "continuations" if kind in ("multiple_choice", "loglikelihood") else kind
        return "speeds", digest([self.identity, _cores(), what, kind])


def _cores() -> int:
    return len(os.sched_getaffinity(0))
