"""Runs a GGUF model by llama.cpp: logits of packed rows, only where they are wanted.

Every row is computed in the same calls and at the same place of the cache, whatever was computed before it, so that
its logits are the same to the last bit in any company.
"""

from __future__ import annotations

import ctypes
import logging
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pytest_qllm.errors import QllmError

TOKENS = 512
"""Tokens of one pass, llama.cpp's own default; a larger product is no faster on a CPU."""

LOGITS = 2**24
"""Logits that are in memory at once: 64 MiB in float32."""

SEQUENCES = 256
"""Sequences that one context can hold (LLAMA_MAX_SEQ)."""

_CELLS = 512
_ERROR = 3


@dataclass(frozen=True)
class Token:
    """A token of a row: its position, the sequences that it belongs to, and whether its logits are wanted."""

    id: int
    position: int
    sequences: Sequence[int]
    is_wanted: bool


class LlamaRunner:
    """Forward passes of one GGUF model, on the CPU.

    Args:
        file: the GGUF file; the first of several shards.
        threads: of llama.cpp.

    Attributes:
        computed: tokens that went through the model so far.
        vocabulary: rows of its output head.
        bytes: of all its tensors.
    """

    def __init__(self, file: Path, threads: int) -> None:
        import llama_cpp

        self.file = file
        self.threads = threads
        self.computed = 0
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        with complaints() as said:
            model = llama_cpp.llama_model_load_from_file(bytes(file), params)
        if not model:
            raise QllmError(f"llama.cpp cannot load {file} ({said[-1] if said else 'it does not say why'})")
        self._model = _Model(model)
        self.vocabulary = int(llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model)))
        self.bytes = int(llama_cpp.llama_model_size(model))
        self.layers = int(llama_cpp.llama_model_n_layer(model))
        self.width = int(llama_cpp.llama_model_n_embd(model))
        self.is_recurrent = bool(llama_cpp.llama_model_is_recurrent(model) or llama_cpp.llama_model_is_hybrid(model))
        self._context: _Context | None = None

    def texts(self) -> list[str] | None:
        """The token texts of the file's own vocabulary, or None if it has none."""
        import llama_cpp

        vocabulary = llama_cpp.llama_model_get_vocab(self._model.pointer)
        if llama_cpp.llama_vocab_type(vocabulary) == llama_cpp.LLAMA_VOCAB_TYPE_NONE:
            return None
        return [
            llama_cpp.llama_vocab_get_text(vocabulary, at).decode(errors="replace") for at in range(self.vocabulary)
        ]

    def begin(self, prefix: tuple[int, ...], branches: int, length: int) -> None:
        """Make room for a row: sequences 1 to ``branches``, of ``length`` tokens in all, each after the prefix.

        The prefix is computed alone, and kept until another one is needed.
        """
        if self._context is None or not self._context.holds(branches + 1, len(prefix) + length):
            self._context = None  # frees the old one's memory first
            self._context = _Context(self._model, self.threads, branches + 1, len(prefix) + length)
        context = self._context
        if context.prefix != prefix:
            context.clear()
            for _ in self._decoded(context, [Token(one, at, (0,), False) for at, one in enumerate(prefix)]):
                pass
            context.prefix = prefix
        context.fork(branches)

    def read(self, tokens: Sequence[Token]) -> Iterator[torch.Tensor]:
        """Compute tokens after ``begin``; logits of those that are wanted, in order, in blocks of (n, vocabulary)."""
        assert self._context is not None
        yield from self._decoded(self._context, tokens)

    def _decoded(self, context: _Context, tokens: Sequence[Token]) -> Iterator[torch.Tensor]:
        most = max(1, LOGITS // self.vocabulary)
        batch: list[Token] = []
        wanted = 0
        for token in tokens:
            if len(batch) == TOKENS or (token.is_wanted and wanted == most):
                yield from self._passed(context, batch, wanted)
                batch, wanted = [], 0
            batch.append(token)
            wanted += token.is_wanted
        if batch:
            yield from self._passed(context, batch, wanted)

    def _passed(self, context: _Context, batch: Sequence[Token], wanted: int) -> Iterator[torch.Tensor]:
        logits = context.decode(batch, wanted, self.vocabulary)
        self.computed += len(batch)
        if wanted:
            yield logits


class _Model:
    """Owns a model of llama.cpp, which has to outlive its contexts: each of them holds this."""

    def __init__(self, pointer: Any) -> None:
        import llama_cpp

        self.pointer = pointer
        weakref.finalize(self, llama_cpp.llama_model_free, pointer)


class _Context:
    """A cache of keys and values for so many sequences and tokens, at least; sequence 0 is the prefix."""

    def __init__(self, model: _Model, threads: int, sequences: int, cells: int) -> None:
        import llama_cpp

        self._model = model
        self._branches = 0
        self.sequences = min(SEQUENCES, _power(sequences))
        self.cells = max(_CELLS, _power(cells))
        self.prefix: tuple[int, ...] = ()
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.cells
        params.n_batch = params.n_ubatch = TOKENS
        params.n_seq_max = self.sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.offload_kqv = params.op_offload = False
        params.no_perf = True
        with complaints() as said:
            self._context = llama_cpp.llama_init_from_model(model.pointer, params)
        if not self._context:
            reason = said[-1] if said else "no reason given"
            raise QllmError(f"llama.cpp has no room for a context of {self.cells} tokens ({reason})")
        weakref.finalize(self, llama_cpp.llama_free, self._context)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(TOKENS, 0, self.sequences)
        weakref.finalize(self, llama_cpp.llama_batch_free, self._batch)

    def holds(self, sequences: int, cells: int) -> bool:
        return sequences <= self.sequences and cells <= self.cells

    def clear(self) -> None:
        import llama_cpp

        llama_cpp.llama_memory_clear(self._memory, True)
        self.prefix, self._branches = (), 0

    def fork(self, branches: int) -> None:
        """Let sequences 1 to ``branches`` hold the prefix and nothing else."""
        import llama_cpp

        for sequence in range(1, self._branches + 1):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        if self.prefix:
            for sequence in range(1, branches + 1):
                llama_cpp.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        self._branches = branches

    def decode(self, tokens: Sequence[Token], wanted: int, vocabulary: int) -> torch.Tensor:
        """One pass; a copy of the logits that are wanted, shape (wanted, vocabulary)."""
        import llama_cpp

        batch = self._batch
        batch.n_tokens = len(tokens)
        for at, token in enumerate(tokens):
            batch.token[at] = token.id
            batch.pos[at] = token.position
            batch.n_seq_id[at] = len(token.sequences)
            for place, sequence in enumerate(token.sequences):
                batch.seq_id[at][place] = sequence
            batch.logits[at] = token.is_wanted
        with complaints() as said:
            status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status} ({said[-1] if said else 'no reason given'})")
        if not wanted:
            return torch.empty(0, vocabulary)
        address = ctypes.cast(llama_cpp.llama_get_logits(self._context), ctypes.c_void_p).value
        assert address is not None
        buffer = (ctypes.c_float * (wanted * vocabulary)).from_address(address)
        return torch.frombuffer(buffer, dtype=torch.float32).reshape(wanted, vocabulary).clone()


@contextmanager
def complaints() -> Iterator[list[str]]:
    """Within it llama.cpp prints nothing; what it yields are its errors, as they come."""
    import llama_cpp

    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)  # what it frees, it tells later
    said: list[str] = []

    def log(level: int, text: bytes, _: object) -> None:
        if level == _ERROR and text.strip():
            said.append(text.decode(errors="replace").strip())

    callback = llama_cpp.llama_log_callback(log)
    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    llama_cpp.llama_log_set(callback, None)
    try:
        yield said
    finally:
        llama_cpp.llama_log_set(before, data)


def _power(count: int) -> int:
    """The least power of two that is no less."""
    return 1 << (count - 1).bit_length()
