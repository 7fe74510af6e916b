"""Score and generate with a transformers model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from pytest_qllm.engine.engine import Continuation, Generation, Scored
from pytest_qllm.engine.packing import Encoded, Row, batches, pack, tree_mask
from pytest_qllm.errors import QllmError
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKEN_BUDGET = 2048
"""Padded tokens in one forward pass; keeps activations of a small model within about a gigabyte."""


class TorchEngine:
    """An ``Engine`` over a causal language model.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: of the same checkpoint.
        packed: whether to share an item's context among its choices in one row; else each request has a row of its
            own and the whole model runs as transformers runs it. ``agrees`` tells whether a model can be packed.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, packed: bool) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.packed = packed
        self.device = str(next(model.parameters()).device)
        self.max_length = _max_length(model, tokenizer)

    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        encoded = [[self._encode(request) for request in item] for item in items]
        if self.packed and not self._exceeds_window(encoded):
            return self._score_rows([pack(item) for item in encoded], packed=True)
        flat = self._score_rows([pack([request]) for item in encoded for request in item], packed=False)
        answers = iter(flat)
        return [[next(answers)[0] for _ in item] for item in encoded]

    def rolling(self, texts: Sequence[str]) -> list[Scored]:
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows: list[list[Encoded]] = []
        for text in texts:
            rolled = get_rolling_token_windows(
                token_list=self._tokens(text), prefix_token=self._prefix, max_seq_len=self.max_length, context_len=1
            )
            pairs = [make_disjoint_window(window) for window in rolled]
            windows.append([self._encoded(list(context), list(targets)) for context, targets in pairs])
        flat = self._score_rows([pack([one]) for text in windows for one in text], packed=False)
        answers = iter(flat)
        return [_total([next(answers)[0] for _ in text]) for text in windows]

    def generations(self, requests: Sequence[Generation]) -> list[str]:
        texts: list[str] = []
        for request_batch in _alike(requests):
            texts += self._generate(request_batch)
        return texts

    def agrees(self, items: Sequence[Sequence[Continuation]], tolerance: float) -> float | None:
        """Score items packed and plain; None if a log-likelihood differs by more than ``tolerance`` nats.

        Otherwise the largest difference. A model whose attention does not honour the mask and the position ids
        (recurrent layers, ALiBi), or which refuses them, cannot be packed.
        """
        before, self.packed = self.packed, True
        try:
            packed = self.continuations(items)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return None
        finally:
            self.packed = False
            plain = self.continuations(items)
            self.packed = before
        pairs = [(a, b) for one, other in zip(packed, plain, strict=True) for a, b in zip(one, other, strict=True)]
        difference = max(abs(a.loglikelihood - b.loglikelihood) for a, b in pairs)
        return difference if difference <= tolerance else None

    # Encoding follows lm-eval's `hf` model (TemplateLM._encode_pair): tokens of the whole, split by the context's.

    def _encode(self, request: Continuation) -> Encoded:
        if not request.context:
            targets = self._tokens(request.text, special=False)
            context = [self._prefix]
            if targets[:1] == context:
                context, targets = targets[:1], targets[1:]
            return self._encoded(context, targets)
        stripped = request.context.rstrip()
        whole = self._tokens(request.context + request.text)
        context = self._tokens(stripped) if stripped else [self._prefix]
        return self._encoded(context, whole[len(context) :])

    def _encoded(self, context: list[int], targets: list[int]) -> Encoded:
        if not targets:
            raise QllmError("a request has no tokens to score: its continuation is empty for this tokenizer")
        whole = (context + targets)[-(self.max_length + 1) :]
        return Encoded(tuple(whole[:-1]), tuple(targets[-len(whole) + 1 :]))

    def _tokens(self, text: str, *, special: bool | None = None) -> list[int]:
        if special is None:
            prefix = self.tokenizer.decode(self._prefix)
            special = not (prefix and text.startswith(prefix))
        return list(self.tokenizer.encode(text, add_special_tokens=special))

    @property
    def _prefix(self) -> int:
        token = self.tokenizer.bos_token_id
        if token is None:
            token = self.tokenizer.eos_token_id
        if token is None:
            raise QllmError("the tokenizer has neither a beginning-of-text nor an end-of-text token")
        return int(token)

    def _exceeds_window(self, items: Sequence[Sequence[Encoded]]) -> bool:
        """Whether a sliding window would cut what a tree mask, which replaces the window's, lets through."""
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
        if not window or getattr(config, "use_sliding_window", True) is False:
            return False
        return any(len(request.inputs) >= window for item in items for request in item)

    @torch.inference_mode()
    def _score_rows(self, rows: Sequence[Row], *, packed: bool) -> list[list[Scored]]:
        results: list[list[Scored]] = [[] for _ in rows]
        for batch in batches([len(row.tokens) for row in rows], TOKEN_BUDGET):
            chosen = [rows[at] for at in batch]
            logits = self._packed_logits(chosen) if packed else self._plain_logits(chosen)
            for at, row, rows_logits in zip(batch, chosen, logits, strict=True):
                sizes = [len(targets) for targets in row.targets]
                split = torch.split(rows_logits, sizes)
                results[at] = [_score(part, targets) for part, targets in zip(split, row.targets, strict=True)]
        return results

    def _packed_logits(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """Logits at the scored places of each row, shape (targets of the row, vocabulary); the head runs only there."""
        ids = self._padded([row.tokens for row in rows])
        positions = self._padded([row.positions for row in rows])
        mask = tree_mask(rows, self.model.dtype, self.device)
        hidden = self.model.base_model(
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        places = [(at, place) for at, row in enumerate(rows) for scored in row.scored for place in scored]
        index = torch.tensor(places, device=self.device)
        logits = self.model.get_output_embeddings()(hidden[index[:, 0], index[:, 1]])
        return list(torch.split(logits, [sum(len(scored) for scored in row.scored) for row in rows]))

    def _plain_logits(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """The same through the whole model, each row a plain sequence padded on the right, where causality hides it."""
        ids = self._padded([row.tokens for row in rows])
        logits = self.model(input_ids=ids, use_cache=False).logits
        return [logits[at, [place for scored in row.scored for place in scored]] for at, row in enumerate(rows)]

    def _padded(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self.device)

    @torch.inference_mode()
    def _generate(self, requests: Sequence[Generation]) -> list[str]:
        limit, until = requests[0].limit, requests[0].until
        prompts = [self._tokens(request.context)[-(self.max_length - limit) :] for request in requests]
        width = max(len(prompt) for prompt in prompts)
        pad = self.tokenizer.pad_token_id
        pad = self._prefix if pad is None else int(pad)
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=self.device)
        seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=self.device)
        with quiet():
            made = self.model.generate(
                input_ids=ids,
                attention_mask=seen,
                max_new_tokens=limit,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=pad,
                stop_strings=list(until) or None,
                tokenizer=self.tokenizer,
            )
        texts = self.tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)
        return [_cut(text, until) for text in texts]


def _score(logits: torch.Tensor, targets: tuple[int, ...]) -> Scored:
    """Sum of log-probabilities in float32, in nats."""
    wanted = torch.tensor(targets, device=logits.device)
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    picked = logprobs.gather(1, wanted[:, None])[:, 0]
    return Scored(float(picked.sum()), bool((logits.argmax(-1) == wanted).all()), len(targets))


def _total(windows: Sequence[Scored]) -> Scored:
    return Scored(
        sum(window.loglikelihood for window in windows),
        all(window.is_greedy for window in windows),
        sum(window.tokens for window in windows),
    )


def _cut(text: str, until: Sequence[str]) -> str:
    for stop in until:
        text = text.split(stop)[0] if stop else text
    return text


def _alike(requests: Sequence[Generation], size: int = 8) -> list[list[Generation]]:
    """Consecutive requests with the same limit and stop strings, at most ``size`` together."""
    groups: list[list[Generation]] = []
    for request in requests:
        last = groups[-1] if groups else []
        if last and len(last) < size and (last[0].limit, last[0].until) == (request.limit, request.until):
            last.append(request)
        else:
            groups.append([request])
    return groups


def _max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    from lm_eval.models.utils import resolve_max_length

    return int(resolve_max_length(model.config, tokenizer, default=2048))
