"""The fixture ``efficiency``: what a regime costs on this machine, as a ratio to the baseline's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_qllm.efficiency.costs import DIMENSION, PAPER, QUICK, Cost, Shape, cost
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.fixtures import never_called, runnable
from pytest_qllm.questions import marked_tolerance
from pytest_qllm.session import Session, session_of
from pytest_qllm.stash import RECORDS

if TYPE_CHECKING:
    from pytest_qllm.efficiency.ask import CostQuestion
    from pytest_qllm.efficiency.bench import Bench
    from pytest_qllm.regimes.regime import Regime
    from pytest_qllm.report.record import Record

BENCH: pytest.StashKey[Bench] = pytest.StashKey()

QUICK_PAIRS = 8
"""Pairs of a time of the built-in model: the fewest that are judged at all."""


class EfficiencyFixture:
    """What a test calls ``efficiency``: a call ends the test as its verdict says, or returns the record of a PASS."""

    def __init__(self, node: pytest.Item, regime: Regime) -> None:
        self._node = node
        self._regime = regime
        self._session = session_of(node.config)
        self.called = False

    def __call__(
        self, name: str, *, batch: int | None = None, shape: str | None = None, tolerance: float | str | None = None
    ) -> Record:
        """The regime's verdict on a cost; a skip with the figure where no tolerance is set for it.

        Args:
            name: ``decode_time``, ``prefill_time``, ``first_token_time``, ``load_time``, ``weight_memory``,
                ``peak_memory`` or ``disk_size``.
            batch: sequences at once.
            shape: tokens of each prompt and generated tokens, such as ``"256x512"``.
            tolerance: largest ratio to the baseline's cost (1.25: a quarter slower; 0.45: less than half as large), or
                for a time the share of the baseline's speed to keep, such as ``"80%"``.
        """
        self.called = True
        broken: QllmError
        try:
            record = self._answer(name, batch, shape, tolerance)
        except QllmError as error:
            broken = error
        else:
            self._node.stash.setdefault(RECORDS, []).append(record.to_json())
            self._session.conclude(record)
            return record
        if isinstance(broken, UnavailableError):
            pytest.skip(str(broken))
        pytest.fail(f"{name}[{self._regime.name}]: {broken}", pytrace=False)

    def _answer(self, name: str, batch: int | None, shape: str | None, tolerance: float | str | None) -> Record:
        from pytest_qllm.efficiency.ask import ask
        from pytest_qllm.efficiency.bench import compiles, unreal

        settings = self._session.settings
        what = cost(name)
        self._question(what, batch, shape, tolerance, self._regime)  # a wrong one is said before anything is made
        if settings.efficiency == "off":
            raise UnavailableError("--qllm-efficiency=off")
        _require_alone(self._node.config)
        bench = _bench(self._session)
        device = bench.workshop.compute.device
        reason = unreal(self._regime, device)
        if not reason and settings.efficiency == "auto":
            reason = compiles(self._regime, what, device)
        if reason:
            raise UnavailableError(reason)
        regime = bench.workshop.sized(self._regime)
        question = self._question(what, batch, shape, tolerance, regime)
        record = ask(bench, settings.model, question, regime)
        return replace(record, rerun=self._session.rerun(self._node, regime.name))

    def _question(
        self, what: Cost, batch: int | None, shape: str | None, tolerance: float | str | None, regime: Regime
    ) -> CostQuestion:
        """The call's own words, over the marker, over the tables."""
        from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
        from pytest_qllm.efficiency.ask import CostQuestion
        from pytest_qllm.models.source import DEFAULT
        from pytest_qllm.verdict.sequential import Design
        from pytest_qllm.verdict.tolerance import Tolerances, check_cost

        settings = self._session.settings
        if batch is not None and (not what.batch or isinstance(batch, bool) or batch < 1):
            expected = "a whole number from 1" if what.batch else f"none: {what.name} has no batch"
            raise QllmError(f"batch is {batch!r}; expected {expected}")
        is_quick = settings.model == DEFAULT
        chosen = Shape.parse(shape or settings.shape) if shape or settings.shape else QUICK if is_quick else PAPER
        added = [one.name for found in self._node.config.hook.pytest_qllm_benchmarks() for one in found]
        names = [*(one.name for one in BenchmarkCatalog()), *added]
        tables = Tolerances.from_toml(settings.tolerances, names, settings.tolerances_file)
        words = [word for word in (tolerance, marked_tolerance(self._node, regime.judged_bits)) if word is not None]
        allowed = check_cost(words[0], what.name, self._node.name) if words else None
        if allowed is None:
            allowed = tables.of_cost(what.name, regime.judged_bits)
        design = Design.fixed(settings.alpha) if settings.fixed_n else Design(alpha=settings.alpha)
        pairs = QUICK_PAIRS if is_quick and what.is_timed else what.pairs
        return CostQuestion(what, chosen, batch or what.batch, allowed, pairs, design)


def _require_alone(config: pytest.Config) -> None:
    """Refuse to time beside other workers.

    Raises:
        UnavailableError: under an order of tests that is not this package's.
    """
    worker = getattr(config, "workerinput", None)
    if worker is not None and not worker.get("qllm_alone"):
        raise UnavailableError(
            f"{DIMENSION} is measured alone, and --dist={worker.get('qllm_dist', '?')} runs tests side by side: leave "
            "--dist out, or run these tests without -n"
        )


def _bench(session: Session) -> Bench:
    """The bench of this process; what the quality gates have in memory makes room for it."""
    from pytest_qllm.efficiency import machine
    from pytest_qllm.efficiency.bench import Bench
    from pytest_qllm.options import cache_directory

    stash = session.config.stash
    if BENCH not in stash:
        laboratory = session.laboratory()
        laboratory.compute = replace(laboratory.compute, threads=machine.cores())
        stash[BENCH] = Bench(laboratory, cache_directory() / "locks", again=session.settings.efficiency == "again")
    session.forget()
    return stash[BENCH]


@pytest.fixture
def efficiency(request: pytest.FixtureRequest, qllm_regime: str) -> Iterator[EfficiencyFixture]:
    """Call it with the name of a cost: the test passes, fails or skips with the regime's verdict.

    ``efficiency(name, batch=None, shape=None, tolerance=None)``. Tests that ask for it have no ``[fp16]``, end their
    parameters in ``-alone``, and run one at a time after all others.
    """
    asked = EfficiencyFixture(request.node, runnable(request, qllm_regime))
    yield asked
    never_called(request, "efficiency", asked.called)
