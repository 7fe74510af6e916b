"""How many tokens an engine computes for items: what a measurement costs, before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING

from pytest_qllm.benchmarks.lm_eval import Item

if TYPE_CHECKING:
    from pytest_qllm.engine.encoding import Encoder

CHARACTERS = 4
"""Characters to a token of English text, roughly: what is taken where there is no tokenizer to ask."""


class Workload:
    """Tokens of items, each computed once: a shared beginning, an item's context, what is left of each choice.

    A generation counts with its limit, so that the figure is the most that it can take. A model that cannot be packed
    takes several times as many.

    Args:
        encoder: of the checkpoint, or None to estimate from the number of characters.
        seed: of the session.
    """

    def __init__(self, encoder: Encoder | None, seed: int) -> None:
        self.encoder = encoder
        self.seed = seed
        self._known: dict[str, tuple[int, str, int]] = {}

    @property
    def is_exact(self) -> bool:
        """Whether a tokenizer counted, and not characters."""
        return self.encoder is not None

    def tokens(self, items: Sequence[Item]) -> int:
        """Tokens that are computed for the items, at most.

        Raises:
            QllmError: if an item cannot be asked of this checkpoint.
        """
        beginnings: dict[str, int] = {}
        total = 0
        for item in items:
            if item.id not in self._known:
                self._known[item.id] = _estimated(item) if self.encoder is None else self._counted(item, self.encoder)
            own, beginning, shared = self._known[item.id]
            total += own
            beginnings[beginning] = shared
        return total + sum(beginnings.values())

    def _counted(self, item: Item, encoder: Encoder) -> tuple[int, str, int]:
        """Tokens of the item's own, the beginning that it shares, and that one's tokens."""
        from pytest_qllm.engine.packing import pack

        if item.output_type == "loglikelihood_rolling":
            return sum(len(window.inputs) for window in encoder.windows(item.requests[0][0])), "", 0
        beginning = item.requests[0][0][: item.shared]
        if item.output_type == "generate_until":
            request = item.generation(self.seed)
            prompt = encoder.prompt(request)
            prefix = encoder.prefix([request], [prompt])
            return len(prompt) - len(prefix) + request.limit, beginning if prefix else "", len(prefix)
        requests = item.continuations()
        encoded = [encoder.continuation(request) for request in requests]
        unscored = [one.inputs[: len(one.inputs) - len(one.targets) + 1] for one in encoded]
        row = pack(encoded, encoder.prefix(requests, unscored))
        return len(row.tokens), beginning if row.prefix else "", len(row.prefix)


def _estimated(item: Item) -> tuple[int, str, int]:
    if item.output_type == "loglikelihood_rolling":
        return _tokens(item.requests[0][0]), "", 0
    beginning = item.requests[0][0][: item.shared]
    if item.output_type == "generate_until":
        context = item.requests[0][0][item.shared :]
        return _tokens(context) + item.generation(0).limit, beginning, _tokens(beginning)
    whole = [context + text for context, text in item.requests]
    common = len(commonprefix(whole)) if len(whole) > 1 else len(item.requests[0][0])  # noqa: RUF071 - of characters
    own = _tokens(whole[0][item.shared : common]) + sum(_tokens(text[common:]) for text in whole)
    return own, beginning, _tokens(beginning)


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS)
