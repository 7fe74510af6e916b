"""Measure costs of a regime and of the baseline, through the store: one machine's figures are never another's."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.efficiency import machine, timing
from pytest_qllm.efficiency.costs import LEAST, PARTS, PEAK, Cost, Shape
from pytest_qllm.efficiency.timing import Pair
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.models import source
from pytest_qllm.models.loader import unchecked
from pytest_qllm.quiet import quiet
from pytest_qllm.regimes import checkpoint, gguf_file
from pytest_qllm.regimes.backends import engine_backend
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.regimes.size import at_sixteen_bits, folder_of
from pytest_qllm.store import digest
from pytest_qllm.workshop import BASELINE, Workshop, engine_version

if TYPE_CHECKING:
    from pytest_qllm.efficiency.players import Player, Prompts

VERSION = 1
"""Part of the store's key: counted up with every change of what is timed or counted."""

REPEATS = 2
"""Fresh processes of each side whose peaks are compared."""


@dataclass(frozen=True)
class Measured:
    """What was found of one cost.

    Attributes:
        pairs: of the baseline and the candidate, in the cost's unit.
        others: largest share of the machine's processors that other processes took meanwhile; None where nothing is
            timed, or the system does not tell.
        engines: what runs the baseline, and the candidate.
        identity: what the figures depend on.
    """

    pairs: tuple[Pair, ...]
    others: float | None
    engines: tuple[str, str]
    identity: dict[str, Any]


class Bench:
    """Measures costs of one checkpoint's regimes. Holds at most two models: the baseline and the last regime.

    Args:
        workshop: makes and loads the models, with as many threads as the machine has processors.
        locks: directory of the lock that keeps this user's other sessions from timing at the same time.
        again: measure anew what earlier sessions left.
    """

    def __init__(self, workshop: Workshop, locks: Path, *, again: bool) -> None:
        self.workshop = workshop
        self.locks = locks
        self.again = again
        self._found: dict[tuple[str, ...], dict[str, Any]] = {}
        self._players: tuple[str, Player, Player] | None = None

    def measure(self, regime: Regime, cost: Cost, shape: Shape, batch: int, count: int) -> Measured:
        """At least ``count`` pairs of a time, or what is counted.

        Raises:
            UnavailableError: with the reason, if this cost of the regime would be no figure of its kernels.
            QllmError: if a model cannot be made, loaded or run.
        """
        reason = unreal(regime, self.workshop.compute.device)
        if reason:
            raise UnavailableError(reason)
        identity = self._identity(regime, cost, shape, batch)
        place = ("timings" if cost.is_timed else "counts", f"{regime.name}-{cost.name}-{digest(identity)}")
        known = self._found.get(place) or (None if self.again else self.workshop.store.read(*place))
        pairs: list[Pair] = [] if known is None else [(one, other) for one, other in known["pairs"]]
        others = None if known is None else known["others"]
        if len(pairs) < (count if cost.is_timed else 1):
            more, load = self._run(regime, cost, shape, batch, count - len(pairs))
            pairs += more
            others = max((one for one in (others, load) if one is not None), default=None)
            self._found[place] = {"pairs": pairs, "others": others}
            if timing.spread(pairs) <= timing.SPREAD:  # a disturbed one is nobody's figure
                self.workshop.store.write(self._found[place], *place)
        engines = "transformers", "transformers" if engine_backend(regime) is None else "llama.cpp"
        return Measured(tuple(pairs[:count] if cost.is_timed else pairs), others, engines, identity)

    def forget(self) -> None:
        """Free the memory of both models."""
        self._players = None
        gc.collect()

    def _run(self, regime: Regime, cost: Cost, shape: Shape, batch: int, count: int) -> tuple[list[Pair], float | None]:
        self._artifact(regime)  # made before the stopwatch, and outside the lock
        what = f"{cost.title(batch)}[{regime.name}]"
        if cost.name == "disk_size":
            return [(float(self._file_size(BASELINE)), float(self._file_size(regime)))], None
        if cost is PEAK:
            self.forget()
            self.workshop.store.progress(f"{what}: generating in processes of their own")
            return self._peaks(regime, shape, batch), None
        with machine.alone(self.locks, self.workshop.store.progress):
            self.workshop.store.progress(what)
            with quiet(), self._all_threads(), _told(regime):
                if cost.name == "weight_memory":
                    return [self._weights(regime)], None
                watch = machine.Watch()
                pairs = self._timed(regime, cost, shape, batch, count)
                load = watch.load()
        return pairs, None if load is None else load.others + load.stolen

    def _timed(self, regime: Regime, cost: Cost, shape: Shape, batch: int, count: int) -> list[Pair]:
        if cost.name == "load_time":
            self.forget()
            runs = self._loads(BASELINE), self._loads(regime)
            for run in runs:  # imports, and the files into the page cache
                run()
            with unchecked():
                return timing.alternate(*runs, count)
        baseline, candidate = self._both(regime)
        prompts = self._prompts(batch, shape)
        if cost.name != "decode_time":
            tokens = batch * shape.input if cost.name == "prefill_time" else 1

            def reads(player: Player) -> Callable[[], float]:
                return lambda: player.begin(prompts, 1) / tokens

            timing.alternate(reads(baseline), reads(candidate), 1)  # warms up
            return timing.alternate(reads(baseline), reads(candidate), count)
        found: list[Pair] = []
        part = shape.output // PARTS

        def makes(player: Player) -> Callable[[], float]:
            return lambda: player.step(part) / (part * batch)

        for player in (baseline, candidate):  # warm up
            player.begin(prompts, shape.output)
            player.step(min(part, 4))
        while len(found) < count:  # a whole generation at a time: all parts of it weigh the same
            for player in (baseline, candidate):
                player.begin(prompts, shape.output)
            found += timing.alternate(makes(baseline), makes(candidate), PARTS)
        return found

    def _loads(self, regime: Regime) -> Callable[[], float]:
        """Loads a model and lets it go; the seconds of the first."""
        from pytest_qllm.engine.llama_runner import LlamaRunner
        from pytest_qllm.models.loader import load_dense

        compute = self.workshop.compute
        if regime.is_baseline:
            return lambda: _seconds(lambda: load_dense(self.workshop.checkpoint.path, self._dtype, compute.device))
        if engine_backend(regime) is not None:
            file = _files(self._artifact(regime))[0]
            return lambda: _seconds(lambda: LlamaRunner(file, compute.threads))
        return lambda: _seconds(lambda: self._load(regime))

    def _both(self, regime: Regime) -> tuple[Player, Player]:
        """Baseline and candidate, both in memory."""
        if self._players is None or self._players[0] != regime.name:
            before = None if self._players is None else self._players[1]
            self._players = None
            gc.collect()
            self._players = (regime.name, before or self._load(BASELINE), self._load(regime))
        return self._players[1:]

    def _load(self, regime: Regime, dtype: str = "") -> Player:
        from pytest_qllm.efficiency import players

        workshop = self.workshop
        compute = replace(workshop.compute, dtype=dtype or workshop.compute.dtype)
        artifact = self._artifact(regime)
        try:
            return players.load(regime, artifact, workshop.checkpoint.path, compute)
        except (QllmError, MemoryError):
            raise
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            library = regime.library or regime.backend or "transformers"
            raise QllmError(f"{library} cannot load {regime.name} ({type(error).__name__}: {line})") from error

    def _weights(self, regime: Regime) -> Pair:
        """In 16 bits, whatever is computed in: what is not quantized must not flatter what is."""
        from pytest_qllm.efficiency import players

        prompts = self._prompts(1, LEAST)

        def weighed(player: Player) -> float:
            player.begin(prompts, 2)  # some kernels lay their weights out anew when they are first used
            player.step(1)
            return float(players.weights(player))

        if self.workshop.compute.dtype == "float32":
            return weighed(self._load(BASELINE, "bfloat16")), weighed(self._load(regime, "bfloat16"))
        baseline, candidate = self._both(regime)
        return weighed(baseline), weighed(candidate)

    def _peaks(self, regime: Regime, shape: Shape, batch: int) -> list[Pair]:
        """Every process of the baseline, which serve all regimes, with every one of the candidate."""
        self._prompts(batch, shape)  # refuses a shape that is too long
        place = ("counts", f"fp16-peaks-{digest(self._identity(BASELINE, PEAK, shape, batch))}")
        before = self._found.get(place) or (None if self.again else self.workshop.store.read(*place))
        if before is None:
            before = self._found[place] = {"peaks": self._processes(BASELINE, shape, batch)}
            self.workshop.store.write(before, *place)
        after = self._processes(regime, shape, batch)
        return [(float(one), float(other)) for one in before["peaks"] for other in after]

    def _processes(self, regime: Regime, shape: Shape, batch: int) -> list[int]:
        from pytest_qllm.efficiency import memory

        artifact, path, compute = self._artifact(regime), self.workshop.checkpoint.path, self.workshop.compute
        return [memory.measure(regime, artifact, path, compute, shape, batch) for _ in range(REPEATS)]

    def _artifact(self, regime: Regime) -> Path:
        return self.workshop.checkpoint.path if regime.base.is_baseline else self.workshop.artifact(regime)

    def _file_size(self, regime: Regime) -> int:
        if regime.is_baseline:
            return at_sixteen_bits(source.weight_files(self.workshop.checkpoint.path))
        return sum(file.stat().st_size for file in _files(self._artifact(regime)))

    def _prompts(self, batch: int, shape: Shape) -> Prompts:
        from pytest_qllm.efficiency import players
        from pytest_qllm.models.loader import load_config, load_tokenizer

        path = self.workshop.checkpoint.path
        players.check_window(load_config(path), shape.input + shape.output)
        return players.prompts(load_tokenizer(path), batch, shape.input)

    def _identity(self, regime: Regime, cost: Cost, shape: Shape, batch: int) -> dict[str, Any]:
        workshop = self.workshop
        return {
            "weights": workshop.checkpoint.weights,
            "tokenizer": workshop.checkpoint.tokenizer,
            "regime": workshop.recipe(regime),
            "cost": cost.name,
            "shape": str(shape) if cost.is_shaped else "",
            "batch": batch,
            "dtype": workshop.compute.dtype,
            "device": workshop.compute.device.split(":")[0],
            "threads": workshop.compute.threads,
            "machine": self._machine,
            "engine": engine_version(),
            "version": VERSION,
        }

    @cached_property
    def _machine(self) -> dict[str, Any]:
        return machine.identity(self.workshop.compute.device)

    @cached_property
    def _dtype(self) -> Any:
        import torch

        return getattr(torch, self.workshop.compute.dtype)

    @contextmanager
    def _all_threads(self) -> Iterator[None]:
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(self.workshop.compute.threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _told(regime: Regime) -> Iterator[None]:
    """A kernel's refusal in one line."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"{regime.name} cannot generate on its kernels ({type(error).__name__}: {line})") from error


def unreal(regime: Regime, device: str) -> str:
    """Why a cost of this regime would say nothing about its kernels; empty where it does."""
    if regime.simulated:
        return f"{regime.name} is simulated: it is stored in 16 bits and no kernel multiplies its quantized weights"
    if regime.library == "compressed_tensors":
        return (
            f"{regime.name} is simulated here: transformers makes plain matrices of its weights, its kernels are vLLM's"
        )
    if checkpoint.dequantized(regime, device):
        return (
            f"{regime.name} is computed with dense weights here: transformers dequantizes {regime.method} on {device}, "
            "and no kernel multiplies its quantized weights"
        )
    if regime.kv:
        return f"{regime.name} quantizes its cache, which is read through transformers here and not by a kernel"
    if device.startswith("cuda") and engine_backend(regime) is not None:
        return f"{regime.name} runs on the CPU, and its baseline on {device}: no ratio of the two is of quantization"
    return ""


def compiles(regime: Regime, cost: Cost, device: str) -> str:
    """Why this cost takes minutes before anything is measured; empty where it does not."""
    if regime.library != "gptqmodel" or device != "cpu" or cost.name == "disk_size":
        return ""
    return f"GPTQModel compiles the kernels of {regime.name} for minutes on a CPU; --qllm-efficiency=on measures it"


def _files(artifact: Path) -> list[Path]:
    """The files with the weights of an artifact."""
    folder = folder_of(artifact)
    if folder.is_file() or not any(folder.glob("*.safetensors")):
        return list(gguf_file.files(folder))
    return sorted(folder.glob("*.safetensors"))


def _seconds(make: Callable[[], object]) -> float:
    start = time.perf_counter()
    made = make()
    seconds = time.perf_counter() - start
    del made
    gc.collect()
    return seconds
