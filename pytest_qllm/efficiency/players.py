"""Models that can be timed: a prompt is read, then tokens are generated, each step on the library's own kernels.

Greedy, without an end: both sides of a pair do the same work whatever they say.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from pytest_qllm.efficiency.tensors import held
from pytest_qllm.engine.llama_runner import LlamaRunner, Token
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.models import adapter
from pytest_qllm.regimes.backends import backend, engine_backend
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from pytest_qllm.workshop import Compute

Prompts = Sequence[Sequence[int]]
"""Tokens of each prompt; all of one length."""

PASSAGE = (
    "The harbour of the old town lies between two hills. Fishing boats leave it before sunrise, and come back when the "
    "market opens at seven. On Sundays the square stays empty until noon. In 1874 a storm broke the outer wall, and it "
    "took the council eleven years to agree on a new one; def repair(wall): return [stone for stone in wall if stone]. "
)


class Player(Protocol):
    """A loaded model under the stopwatch."""

    engine: str
    """What runs it, such as ``transformers``."""

    def begin(self, prompts: Prompts, output: int) -> float:
        """Read the prompts and choose the first token of each; the seconds that it took.

        ``output`` is how many tokens will be generated at most, for those who make room in advance.
        """

    def step(self, count: int) -> float:
        """Generate so many further tokens for each prompt; the seconds that it took."""


class TorchPlayer:
    """A transformers model with transformers' own cache."""

    engine = "transformers"

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self._cache: Any = None
        self._last: torch.Tensor | None = None

    def begin(self, prompts: Prompts, output: int) -> float:
        self._cache = self._last = None
        ids = torch.tensor(prompts, device=self.device)
        return self._timed(ids, 1)

    def step(self, count: int) -> float:
        assert self._last is not None
        return self._timed(self._last, count)

    # no_grad: the weights of some libraries cannot be unpacked in inference mode.
    @torch.no_grad()
    def _timed(self, ids: torch.Tensor, count: int) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(count):
            # Users' generation loops look at each token: it ends here, on the host.
            made = self.model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
            self._cache = made.past_key_values
            ids = made.logits[:, -1].argmax(-1, keepdim=True)
            ids.tolist()
        self._wait()
        seconds = time.perf_counter() - start
        self._last = ids
        return seconds

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class LlamaPlayer:
    """A GGUF model by llama.cpp; each prompt is a sequence of its own."""

    engine = "llama.cpp"

    def __init__(self, runner: LlamaRunner) -> None:
        self.runner = runner
        self._last: list[int] = []
        self._position = 0

    def begin(self, prompts: Prompts, output: int) -> float:
        length = len(prompts[0])
        start = time.perf_counter()
        self.runner.begin((), len(prompts), len(prompts) * (length + output))
        self._last = self._read(
            [
                Token(one, at, (sequence,), at == length - 1)
                for sequence, prompt in enumerate(prompts, 1)
                for at, one in enumerate(prompt)
            ]
        )
        self._position = length
        return time.perf_counter() - start

    def step(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            tokens = [Token(one, self._position, (at,), True) for at, one in enumerate(self._last, 1)]
            self._last = self._read(tokens)
            self._position += 1
        return time.perf_counter() - start

    def _read(self, tokens: Sequence[Token]) -> list[int]:
        return torch.cat([block.argmax(-1) for block in self.runner.read(tokens)]).tolist()


def prompts(tokenizer: PreTrainedTokenizerBase, batch: int, length: int) -> list[list[int]]:
    """So many prompts of that length: the same passage over and over, each from another token on.

    Raises:
        QllmError: if the tokenizer makes nothing of the passage.
    """
    tokens = tokenizer.encode(PASSAGE, add_special_tokens=False)
    if not tokens:
        raise QllmError("the tokenizer makes no token of a text: there is no prompt to time")
    return [[tokens[(row + at) % len(tokens)] for at in range(length)] for row in range(batch)]


def check_window(config: PretrainedConfig, length: int) -> None:
    """Refuse more tokens than the model was made for.

    Raises:
        QllmError: names both lengths.
    """
    window = getattr(config.get_text_config(), "max_position_embeddings", None)
    if window is not None and length > window:
        raise QllmError(
            f"the shape has {length} tokens in all, the model's window {window}; give a smaller --qllm-shape"
        )


def load(regime: Regime, artifact: Path, model: Path, compute: Compute) -> Player:
    """A regime's model on its real kernels, or the baseline's.

    Args:
        artifact: of the quantized model; not looked at for the baseline.
        model: the FP16 checkpoint.
    """
    from pytest_qllm.models.loader import load_dense

    dtype = getattr(torch, compute.dtype)
    own = engine_backend(regime)
    if own is not None:
        return _of_engine(own.engine(artifact, model, compute.threads), regime)
    if regime.base.is_baseline:
        loaded = load_dense(model, dtype, compute.device)
    else:
        loaded = backend(regime).load(artifact, dtype, compute.device)
    if regime.adapter:
        loaded = adapter.add(loaded, regime.adapter)
    return TorchPlayer(loaded)


def _of_engine(engine: object, regime: Regime) -> LlamaPlayer:
    runner = getattr(engine, "runner", None)
    if not isinstance(runner, LlamaRunner):
        raise UnavailableError(f"the engine of {regime.name} is no llama.cpp of this package: nothing here can time it")
    return LlamaPlayer(runner)


def weights(player: Player) -> int:
    """Bytes of all tensors of the loaded model."""
    if isinstance(player, LlamaPlayer):
        return player.runner.bytes
    assert isinstance(player, TorchPlayer)
    return held(player.model)
