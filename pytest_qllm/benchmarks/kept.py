"""Generated answers in the store, before they are judged: a judge that fails costs no answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from pytest_qllm.engine.engine import Continuation, Engine, Generated, Generation, Scored
from pytest_qllm.store import Store, digest


class KeptAnswers:
    """An engine whose generations are kept; the one behind it is made only if one is lacking.

    A call is kept as a whole, because a call is what an engine answers equally every time.

    Args:
        engine: makes the engine behind it, with its model.
        store: where answers are kept.
        identity: what decides them besides the requests: weights, regime, engine.

    Attributes:
        computed: tokens that went through the model for this object.
        seconds: that they took.
    """

    def __init__(self, engine: Callable[[], Engine], store: Store, identity: Any) -> None:
        self._engine = engine
        self._store = store
        self._identity = identity
        self.computed = 0
        self.seconds = 0.0

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        return self._engine().continuations(items)

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        return self._engine().rolling(texts)

    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        place = ("answers", digest([self._identity, [asdict(request) for request in requests]]))
        known = self._store.read(*place)
        if known is not None:
            return [Generated(**fields) for fields in known]
        engine = self._engine()
        before, start = engine.computed, time.perf_counter()
        made = engine.generations(requests)
        self.seconds += time.perf_counter() - start
        self.computed += engine.computed - before
        self._store.write([asdict(one) for one in made], *place)
        return made
