"""From texts to tokens as lm-eval's `hf` model does it (TemplateLM._encode_pair and its rolling windows)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from pytest_qllm.engine.engine import Continuation, Generation
from pytest_qllm.engine.packing import Encoded
from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

MIN_PREFIX = 16
"""A shared prefix of fewer tokens is not worth keeping apart."""


class Encoder:
    """Tokens for a model of that configuration.

    Attributes:
        max_length: the most tokens that the model takes; longer requests lose their beginning.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
        from lm_eval.models.utils import resolve_max_length

        self.tokenizer = tokenizer
        self.max_length = int(resolve_max_length(config, tokenizer, default=2048))
        self._context = lru_cache(maxsize=256)(self._tokens)  # the choices of an item share theirs

    def continuation(self, request: Continuation) -> Encoded:
        """Tokens of the whole, split by the number of the context's."""
        if not request.context:
            targets = self._tokens(request.text, special=False)
            context: tuple[int, ...] = (self.beginning,)
            if targets[:1] == context:
                targets = targets[1:]
            return self._encoded(context, targets)
        stripped = request.context.rstrip()
        whole = self._tokens(request.context + request.text)
        if not stripped:
            return self._encoded((self.beginning,), whole[1:] if whole[0] == self.beginning else whole)
        context = self._context(stripped)
        return self._encoded(context, whole[len(context) :])

    def windows(self, text: str) -> list[Encoded]:
        """Rolling windows over a text with one token of context, by lm-eval; every token is a target once."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        rolled = get_rolling_token_windows(
            token_list=list(self._tokens(text)),
            prefix_token=self.beginning,
            max_seq_len=self.max_length,
            context_len=1,
        )
        pairs = [make_disjoint_window(window) for window in rolled]
        return [self._encoded(tuple(context), tuple(targets)) for context, targets in pairs]

    def prompt(self, request: Generation) -> tuple[int, ...]:
        """Tokens to generate from, of which those at the end are kept where they leave no room for the answer."""
        room = self.max_length - request.limit
        if room < 1:
            raise QllmError(
                f"a generation of {request.limit} tokens does not fit the model's length of {self.max_length} tokens"
            )
        tokens = self._context(request.context) or (self.beginning,)
        return tokens[-room:]

    def prefix(
        self, requests: Sequence[Continuation | Generation], encoded: Sequence[tuple[int, ...]]
    ) -> tuple[int, ...]:
        """Tokens of the shared beginning of an item's requests that all of them begin with, or none.

        The last token is left out: it may grow into what follows it. Which tokens these are depends on the item and on
        what it says is shared, never on other items, so that every item is computed alike in any company.
        """
        shared = min(request.shared for request in requests)
        if not shared:
            return ()
        tokens = self._context(requests[0].context[:shared])[:-1]
        fits = len(tokens) >= MIN_PREFIX and all(
            one[: len(tokens)] == tokens and len(one) > len(tokens) for one in encoded
        )
        return tokens if fits else ()

    @cached_property
    def beginning(self) -> int:
        """The token before a text: beginning of text, or end of text where there is none."""
        token = self.tokenizer.bos_token_id
        if token is None:
            token = self.tokenizer.eos_token_id
        if token is None:
            raise QllmError("the tokenizer has neither a beginning-of-text nor an end-of-text token")
        return int(token)

    def _encoded(self, context: tuple[int, ...], targets: tuple[int, ...]) -> Encoded:
        if not targets:
            raise QllmError("a request has no tokens to score: its continuation is empty for this tokenizer")
        whole = (context + targets)[-(self.max_length + 1) :]
        return Encoded(whole[:-1], targets[-len(whole) + 1 :])

    def _tokens(self, text: str, *, special: bool | None = None) -> tuple[int, ...]:
        if special is None:
            special = not (self._beginning_text and text.startswith(self._beginning_text))
        return tuple(self.tokenizer.encode(text, add_special_tokens=special))

    @cached_property
    def _beginning_text(self) -> str:
        return str(self.tokenizer.decode(self.beginning))
