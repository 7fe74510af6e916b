"""Runs a transformers model on packed rows: hidden states of all tokens, logits only where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch

from pytest_qllm.engine import attention
from pytest_qllm.engine.attention import Kept, Layout, Rows
from pytest_qllm.engine.budget import Budget
from pytest_qllm.engine.packing import Row, leading
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**24
"""Logits that are in memory at once: 64 MiB in float32."""


class Runner:
    """Forward passes of one model.

    Args:
        model: a causal language model in evaluation mode, on its device.
        budget: how many tokens go through it at once, and how much memory kept prefixes may take.

    Attributes:
        computed: tokens that went through the model so far.
    """

    def __init__(self, model: PreTrainedModel, budget: Budget) -> None:
        self.model = model
        self.budget = budget
        self.device = str(next(model.parameters()).device)
        self.computed = 0
        self._decoder = model.get_decoder()
        self._prefixes: dict[tuple[int, ...], Kept] = {}
        attention.register()

    @contextmanager
    def packed(self) -> Iterator[None]:
        """Within it the model's attention is ours, which knows about rows; outside it is transformers' own.

        Raises:
            NotImplementedError: if the model has no exchangeable attention.
        """
        before = self.model.config._attn_implementation
        with quiet():
            self.model.set_attn_implementation(attention.NAME)
        if self.model.config._attn_implementation != attention.NAME:
            raise NotImplementedError("this model has no exchangeable attention")
        try:
            yield
        finally:
            self.model.set_attn_implementation(before)

    def hidden(self, tokens: Sequence[int], positions: Sequence[int], layout: Layout) -> torch.Tensor:
        """Final hidden states of tokens that lie end to end, shape (tokens, width)."""
        self.computed += len(tokens)
        states: torch.Tensor = self._decoder(
            input_ids=torch.tensor([tokens], device=self.device),
            position_ids=torch.tensor([positions], device=self.device),
            use_cache=False,
            qllm=layout,
        ).last_hidden_state
        return states[0]

    def plain_hidden(self, tokens: Sequence[int]) -> torch.Tensor:
        """Final hidden states of one sequence by the model's own attention, shape (tokens, width)."""
        self.computed += len(tokens)
        states: torch.Tensor = self._decoder(
            input_ids=torch.tensor([tokens], device=self.device), use_cache=False
        ).last_hidden_state
        return states[0]

    def following(self, tokens: Sequence[int], cache: Any) -> torch.Tensor:
        """Final hidden states of tokens after those in transformers' cache, which they join, shape (tokens, width)."""
        self.computed += len(tokens)
        states: torch.Tensor = self._decoder(
            input_ids=torch.tensor([tokens], device=self.device), past_key_values=cache, use_cache=True
        ).last_hidden_state
        return states[0]

    @contextmanager
    def head(self, other: torch.nn.Module) -> Iterator[None]:
        """Within it ``logits`` are by another output head of the same shape."""
        own = self.model.get_output_embeddings()
        self.model.set_output_embeddings(other)
        try:
            yield
        finally:
            self.model.set_output_embeddings(own)

    def rows(self, rows: Sequence[Row], *, keep: bool = False) -> tuple[torch.Tensor, Kept | None]:
        """Hidden states of rows laid end to end, and what was kept of them."""
        prefixes = [self.prefix(row.prefix) for row in rows]
        layout = Rows(rows, prefixes, keep=keep)
        tokens = [token for row in rows for token in row.tokens]
        positions = [position for row in rows for position in row.positions]
        return self.hidden(tokens, positions, layout), layout.kept

    def prefix(self, tokens: tuple[int, ...]) -> Kept | None:
        """Keys and values of a prefix, computed alone, so that they are the same whatever shares them."""
        if not tokens:
            return None
        kept = self._prefixes.pop(tokens, None)
        if kept is None:
            row = Row((), tokens, tuple(range(len(tokens))), len(tokens), (), (), ())
            kept = self.rows([row], keep=True)[1]
            assert kept is not None
            while self._prefixes and self._bytes() + kept.bytes > self.budget.kept_bytes:
                self._prefixes.pop(next(iter(self._prefixes)))
        self._prefixes[tokens] = kept  # the latest stands last
        return kept

    def _bytes(self) -> int:
        return sum(kept.bytes for kept in self._prefixes.values())

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of final hidden states, shape (tokens, vocabulary), by the model's own head with its scale and cap."""
        return head_logits(self.model, hidden)

    def logit_blocks(self, hidden: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """Logits of so many hidden states at a time as memory allows, each with the index of its first."""
        size = max(1, LOGITS // self.model.config.get_text_config().vocab_size)
        for start in range(0, len(hidden), size):
            yield start, self.logits(hidden[start : start + size])

    def batches(self, rows: Sequence[Row], work: Callable[[Sequence[Row]], None]) -> None:
        """Do the work on batches of rows in their order, within the budget.

        After an out-of-memory error of the device the budget is halved, and the batch alone is done again.

        Raises:
            torch.OutOfMemoryError: if a single row does not fit.
        """
        start = 0
        while start < len(rows):
            batch = rows[start : start + leading([len(row.tokens) for row in rows[start:]], self.budget.tokens)]
            if self.fits(len(batch), partial(work, batch)):
                start += len(batch)

    def fits(self, rows: int, work: Callable[[], None]) -> bool:
        """Do the work of so many rows; False if there was no memory for it, and the budget has been halved.

        Raises:
            torch.OutOfMemoryError: if a single row does not fit.
        """
        try:
            work()
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
            self._prefixes.clear()
            torch.cuda.empty_cache()
            self.budget.shrink()
            return False
        return True


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """What a model's head makes of final hidden states, shape (tokens, vocabulary); its decoder is not run."""
    with _returns(model.get_decoder(), hidden[None]) as was_asked:
        unread = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
        logits: torch.Tensor = model(input_ids=unread, use_cache=False).logits
    if not was_asked():
        raise NotImplementedError("this model's head does not take the hidden states of its decoder")
    return logits[0]


@cache
def _output_class() -> type:
    from transformers.modeling_outputs import MoeModelOutputWithPast

    @dataclass
    class DecoderOutput(MoeModelOutputWithPast):  # type: ignore[misc]
        """With every field that a model's head looks for in its decoder's output."""

        cross_attentions: Any = None

    return DecoderOutput


@contextmanager
def _returns(decoder: torch.nn.Module, hidden: torch.Tensor) -> Iterator[Callable[[], bool]]:
    """Within it the decoder computes nothing and returns these hidden states; what it yields tells whether it did."""
    asked = False

    def forward(*_: Any, **__: Any) -> Any:
        nonlocal asked
        asked = True
        return _output_class()(last_hidden_state=hidden)

    own = vars(decoder).get("forward")  # accelerate puts one there
    decoder.forward = forward
    try:
        yield lambda: asked
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own
