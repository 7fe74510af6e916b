"""Score and generate with a transformers model in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import torch
from torch.nn.utils.rnn import pad_sequence

from pytest_qllm.engine.attention import Slots
from pytest_qllm.engine.budget import budget_for
from pytest_qllm.engine.divergence import Observer
from pytest_qllm.engine.encoding import Encoder
from pytest_qllm.engine.engine import Continuation, Generated, Generation, Scored
from pytest_qllm.engine.generation import Choice, Ending, Ongoing, by_transformers, generate, unsupported
from pytest_qllm.engine.packing import Encoded, Row, pack, padded_batches
from pytest_qllm.engine.runner import Runner
from pytest_qllm.engine.scoring import score_blocks, total
from pytest_qllm.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TorchEngine:
    """An ``Engine`` over a causal language model.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: of the same checkpoint.
        packed: whether each token is computed once, with what requests share kept or put into one row; else each
            request has a row of its own and the whole model runs as transformers runs it, which is the reference.
            ``difference`` tells whether a model can be packed.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, packed: bool) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.packed = packed
        self.encoder = Encoder(tokenizer, model.config)
        self.runner = Runner(model, budget_for(model))

    @property
    def computed(self) -> int:
        return self.runner.computed

    @torch.inference_mode()
    def continuations(self, items: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
        encoded = [[self.encoder.continuation(request) for request in item] for item in items]
        if not self.packed or self._exceeds_window([one.inputs for item in encoded for one in item]):
            answers = iter(self._score_plainly([one for item in encoded for one in item]))
            return [[next(answers) for _ in item] for item in encoded]
        rows = []
        for requests, item in zip(items, encoded, strict=True):
            unscored = [one.inputs[: len(one.inputs) - len(one.targets) + 1] for one in item]
            rows.append(pack(item, self.encoder.prefix(requests, unscored)))
        return self._score_packed(rows)

    @torch.inference_mode()
    def rolling(self, texts: Sequence[str], observer: Observer | None = None) -> list[Scored]:
        """As the protocol says; ``observer`` sees hidden state and logits of every scored position, in order."""
        windows = [self.encoder.windows(text) for text in texts]
        flat = [one for text in windows for one in text]
        if self.packed and not self._exceeds_window([one.inputs for one in flat]):
            answers = iter([scored for (scored,) in self._score_packed([pack([one]) for one in flat], observer)])
        elif observer is None:
            answers = iter(self._score_plainly(flat))
        else:
            answers = iter([self._observe_plainly(one, observer) for one in flat])
        return [total([next(answers) for _ in text]) for text in windows]

    @torch.inference_mode()
    def generations(self, requests: Sequence[Generation]) -> list[Generated]:
        prompts = [self.encoder.prompt(request) for request in requests]
        eos = self.model.generation_config.eos_token_id
        ending = Ending(self.tokenizer, [eos] if isinstance(eos, int) else eos or [])
        longest = [prompt + (0,) * request.limit for prompt, request in zip(prompts, requests, strict=True)]
        if not self.packed or self._exceeds_window(longest) or unsupported(self.model.generation_config):
            with quiet():
                pairs = zip(prompts, requests, strict=True)
                made = [by_transformers(self.model, prompt, one, ending) for prompt, one in pairs]
            self.runner.computed += sum(map(len, (*prompts, *made)))
            return [ending.result(request, tokens) for request, tokens in zip(requests, made, strict=True)]
        penalty = self.model.generation_config.repetition_penalty or 1.0
        ongoing = []
        for request, prompt in zip(requests, prompts, strict=True):
            prefix = self.encoder.prefix([request], [prompt])
            ongoing.append(Ongoing(request, prompt, prefix, Choice(request, penalty, self.runner.device)))
        groups: dict[tuple[int, ...], list[Ongoing]] = {}
        for one in ongoing:
            groups.setdefault(one.prefix, []).append(one)
        with self.runner.packed():
            for group in groups.values():
                generate(self.runner, group, ending)
        return [ending.result(one.request, one.made) for one in ongoing]

    def baseline_logits(self, head: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """As ``Observable`` says: by this model's own scale and cap, which quantization leaves alone."""
        there = head.to(self.runner.device)

        def logits(hidden: torch.Tensor) -> torch.Tensor:
            with self.runner.head(there):
                return self.runner.logits(hidden)

        return logits

    @contextmanager
    def other_batches(self) -> Iterator[None]:
        """Within it fewer requests are computed together, so that every product has another shape."""
        before = self.runner.budget
        self.runner.budget = replace(before, tokens=max(1, before.tokens // 5), slots=1)
        try:
            yield
        finally:
            self.runner.budget = before

    def difference(self, items: Sequence[Sequence[Continuation]]) -> float:
        """Largest difference in nats between log-likelihoods of the same requests: packed, by decoding, and plain.

        Infinite for a model that cannot be packed: its attention takes no layout of ours or ignores it, or it has none
        (recurrent layers).
        """
        before = self.packed
        requests = [request for item in items for request in item]
        try:
            self.packed = False
            plain = [one.loglikelihood for item in self.continuations(items) for one in item]
            self.packed = True
            packed = [one.loglikelihood for item in self.continuations(items) for one in item]
            if self._exceeds_window([self.encoder.continuation(request).inputs for request in requests]):
                raise NotImplementedError("the probe is longer than the model's window: it tells nothing")
            decoded = [self._decoded(request) for request in requests]
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError):
            return float("inf")
        finally:
            self.packed = before
        differences = [abs(one - other) for one, other in zip([*plain, *plain], [*packed, *decoded], strict=True)]
        return max(differences) if all(map(isfinite, differences)) else float("inf")

    @torch.inference_mode()
    def _decoded(self, request: Continuation) -> float:
        """The log-likelihood of a continuation by the way that generation takes: a token at a time, keys kept."""
        encoded = self.encoder.continuation(request)
        prompt = encoded.inputs[: len(encoded.inputs) - len(encoded.targets) + 1]
        prefix = self.encoder.prefix([request], [prompt])
        row = pack([Encoded(prompt, encoded.targets[:1])], prefix)
        total = 0.0
        with self.runner.packed():
            hidden, kept = self.runner.rows([row], keep=True)
            assert kept is not None
            slots = Slots(self.runner.prefix(prefix), kept, 1, len(encoded.inputs) - len(prefix))
            slots.add(kept, 0, len(row.tokens))
            for at, target in enumerate(encoded.targets):
                if at:
                    slots.begin_step()
                    hidden = self.runner.hidden([encoded.targets[at - 1]], [len(prompt) + at - 1], slots)
                total += float(torch.log_softmax(self.runner.logits(hidden[-1:]).float(), -1)[0, target])
        return total

    def _exceeds_window(self, sequences: Sequence[Sequence[int]]) -> bool:
        """Whether a sliding window would hide what our attention, which knows no window, lets through.

        Or whether positions would be stretched, which depends on the longest row of a pass.
        """
        if self._has_longer_than_rope(sequences):
            return True
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None) or getattr(config, "attention_chunk_size", None)
        if not window or getattr(config, "use_sliding_window", True) is False:
            return False
        return any(len(one) >= window for one in sequences)

    def _has_longer_than_rope(self, sequences: Sequence[Sequence[int]]) -> bool:
        """Whether a row is so long that its positions are stretched (Phi-3's long variants, dynamic NTK)."""
        config = self.model.config.get_text_config()
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") not in ("longrope", "dynamic"):
            return False
        limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        return any(len(one) > limit for one in sequences)

    def _score_packed(self, rows: Sequence[Row], observer: Observer | None = None) -> list[list[Scored]]:
        results: list[list[Scored]] = []

        def work(batch: Sequence[Row]) -> None:
            hidden, _ = self.runner.rows(batch)
            starts = [0]
            for row in batch:
                starts.append(starts[-1] + len(row.tokens))
            places = [
                start + place
                for start, row in zip(starts, batch, strict=False)
                for scored in row.scored
                for place in scored
            ]
            targets = [token for row in batch for wanted in row.targets for token in wanted]
            chosen, is_likeliest = self._score_places(hidden, places, targets, observer)
            at = 0
            for row in batch:
                scored = []
                for wanted in row.targets:
                    stop = at + len(wanted)
                    scored.append(Scored(sum(chosen[at:stop]), all(is_likeliest[at:stop]), len(wanted)))
                    at = stop
                results.append(scored)

        with self.runner.packed():
            self.runner.batches(rows, work)
        return results

    def _score_places(
        self,
        hidden: torch.Tensor,
        places: Sequence[int],
        targets: Sequence[int],
        observer: Observer | None = None,
    ) -> tuple[list[float], list[bool]]:
        """Log-probability of each target at its place, and whether it is the likeliest token there.

        The head runs once for each place, however many targets it has (answer letters have all theirs at one). With an
        observer every place has one target, and they are in order.
        """
        unique, which = torch.unique(torch.tensor(places, device=hidden.device), return_inverse=True)

        def see(start: int, logits: torch.Tensor, wanted: torch.Tensor) -> None:
            if observer is not None:
                observer.see(hidden[unique[start : start + len(logits)]], logits, wanted)

        blocks = self.runner.logit_blocks(hidden[unique])
        return score_blocks(blocks, which, torch.tensor(targets, device=hidden.device), see)

    def _score_plainly(self, requests: Sequence[Encoded]) -> list[Scored]:
        """Each request a row of its own through the whole model, padded on the right, where causality hides it."""
        results: dict[int, Scored] = {}
        alone = self._has_longer_than_rope([one.inputs for one in requests])

        def work(batch: Sequence[int]) -> None:
            ids = pad_sequence([torch.tensor(requests[at].inputs) for at in batch], batch_first=True)
            logits = self.model(input_ids=ids.to(self.runner.device), use_cache=False).logits
            self.runner.computed += ids.numel()
            for row, at in enumerate(batch):
                inputs, targets = requests[at].inputs, requests[at].targets
                results[at] = _score(logits[row, len(inputs) - len(targets) : len(inputs)], targets)

        left = list(range(len(requests)))
        while left:
            lengths = [len(requests[at].inputs) for at in left]
            first = next(padded_batches(lengths, 1 if alone else self.runner.budget.tokens))
            batch = [left[at] for at in first]
            if self.runner.fits(len(batch), partial(work, batch)):
                left = [at for at in left if at not in results]
        return [results[at] for at in range(len(requests))]

    def _observe_plainly(self, request: Encoded, observer: Observer) -> Scored:
        """A row of its own through the model's own attention, and then through its head."""
        hidden = self.runner.plain_hidden(request.inputs)
        first = len(request.inputs) - len(request.targets)
        places = range(first, len(request.inputs))
        chosen, is_likeliest = self._score_places(hidden, places, request.targets, observer)
        return Scored(sum(chosen), all(is_likeliest), len(chosen))


def _score(logits: torch.Tensor, targets: tuple[int, ...]) -> Scored:
    """Sum of log-probabilities in float32, in nats."""
    wanted = torch.tensor(targets, device=logits.device)
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    picked = logprobs.gather(1, wanted[:, None])[:, 0]
    return Scored(float(picked.sum()), bool((logits.argmax(-1) == wanted).all()), len(targets))
