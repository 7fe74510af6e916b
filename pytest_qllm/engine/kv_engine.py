"""Score and generate with a quantized key-value cache: transformers' own ``QuantizedCache``.

What has been read is quantized, what is being read is not: every scored token is predicted through a cache that holds
all tokens before the context's last one at the given width, but for up to ``RESIDUAL`` of the latest. That is the
cache of a model that decodes; a prompt's own first pass sees nothing quantized (KIVI, Liu et al., 2024,
arXiv 2402.02750, whose residual window transformers implements).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from math import gcd
from typing import TYPE_CHECKING, Any

import torch

from pytest_qllm.engine.divergence import Observer
from pytest_qllm.engine.engine import Continuation, Generated, Generation, Scored
from pytest_qllm.engine.generation import Ending, by_transformers
from pytest_qllm.engine.packing import Encoded
from pytest_qllm.engine.scoring import total
from pytest_qllm.engine.torch_engine import TorchEngine
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RESIDUAL = 32
"""Latest tokens that are kept in the compute dtype at most; transformers' default is 128, longer than most items."""

GROUP = 64
"""Values that share a scale: as transformers' default, or the largest power of two that divides the size of a head."""


class QuantizedCacheEngine(TorchEngine):
    """A ``TorchEngine`` whose keys and values are kept in ``bits`` bits, in groups of 64.

    By optimum-quanto, transformers' default, at 2 and 4 bits; by HQQ at 8, which quanto does not have there.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, bits: int) -> None:
        super().__init__(model, tokenizer, packed=False)
        self.bits = bits

    @torch.inference_mode()
    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        scored = []
        for item in items:
            kept: dict[tuple[int, ...], Any] = {}
            scored.append([self._continuation(self.encoder.continuation(request), kept) for request in item])
        return scored

    @torch.inference_mode()
    def rolling(self, texts: Sequence[str], observer: Observer | None = None) -> list[Scored]:
        windows = [self.encoder.windows(text) for text in texts]
        return [total([self._window(one, observer) for one in text]) for text in windows]

    @torch.inference_mode()
    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        eos = self.model.generation_config.eos_token_id
        ending = Ending(self.tokenizer, [eos] if isinstance(eos, int) else eos or [])
        answers = []
        for request in requests:
            prompt = self.encoder.prompt(request)
            with quiet():
                made = by_transformers(self.model, prompt, request, ending, past_key_values=self._cache())
            self.runner.computed += len(prompt) + len(made)
            answers.append(ending.result(request, made))
        return answers

    def _continuation(self, encoded: Encoded, kept: dict[tuple[int, ...], Any]) -> Scored:
        """``kept`` has the caches of contexts that this item's continuations share."""
        first = len(encoded.inputs) - len(encoded.targets)
        context = encoded.inputs[:first]
        if context and context not in kept:
            kept[context] = self._cache()
            self.runner.following(context, kept[context])
        cache = _branched(kept[context]) if context else self._cache()
        return self._scored(self._read_on(encoded.inputs[first:], cache), encoded.targets, None)

    def _window(self, encoded: Encoded, observer: Observer | None) -> Scored:
        hidden = self._read_on(encoded.inputs, self._cache())
        return self._scored(hidden[len(encoded.inputs) - len(encoded.targets) :], encoded.targets, observer)

    def _scored(self, hidden: torch.Tensor, targets: Sequence[int], observer: Observer | None) -> Scored:
        chosen, is_likeliest = self._score_places(hidden, range(len(targets)), targets, observer)
        return Scored(sum(chosen), all(is_likeliest), len(targets))

    def _read_on(self, tokens: Sequence[int], cache: Any) -> torch.Tensor:
        """Final hidden states of tokens that follow those in the cache, shape (tokens, width), a block at a time."""
        blocks = [tokens[at : at + RESIDUAL] for at in range(0, len(tokens), RESIDUAL)]
        return torch.cat([self.runner.following(block, cache) for block in blocks])

    def _cache(self) -> Any:
        from transformers import QuantizedCache

        config = self.model.config.get_text_config()
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return QuantizedCache(
            "hqq" if self.bits == 8 else "quanto",
            config,
            nbits=self.bits,
            axis_key=1 if self.bits == 8 else 0,
            axis_value=1 if self.bits == 8 else 0,
            q_group_size=gcd(GROUP, head),
            residual_length=RESIDUAL,
        )


def _branched(cache: Any) -> Any:
    """A cache that goes on by itself: an update puts new tensors in place of the old ones, and changes none."""
    other = copy(cache)
    other.layers = [copy(layer) for layer in cache.layers]
    return other
