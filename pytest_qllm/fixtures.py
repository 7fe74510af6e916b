"""The fixtures that tests use: ``gate`` and ``regime``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.session import session_of
from pytest_qllm.stash import OUTCOME, RECORDS

if TYPE_CHECKING:
    from pytest_qllm.regimes.regime import Regime
    from pytest_qllm.report.record import Record


@pytest.fixture
def qllm_regime(request: pytest.FixtureRequest) -> str:
    """Name of the regime under test; what is parametrized. A project's own ``regime`` or ``gate`` is left alone."""
    return str(request.param)


@pytest.fixture
def regime(request: pytest.FixtureRequest, qllm_regime: str) -> Regime:
    """The regime under test: the baseline ``fp16`` or one of ``--qllm-regimes``."""
    return _runnable(request, qllm_regime)


def _runnable(request: pytest.FixtureRequest, name: str) -> Regime:
    regime = session_of(request.config).regimes.get(name)
    missing = regime.missing()
    if missing is not None:
        pytest.skip(f"{regime.name} needs a library that is not here: {missing}")
    return regime


@pytest.fixture
def gate(request: pytest.FixtureRequest, qllm_regime: str) -> Iterator[Callable[..., Record]]:
    """Call it with a benchmark's name: the test passes, fails or skips with the regime's verdict.

    ``gate(benchmark, metric=None, items=None, tolerance=None)``: the metric on which the verdict is, the number of
    items, and the tolerance, instead of the benchmark's own. Returns the record of a PASS (or of the baseline).
    """
    session = session_of(request.config)
    regime = _runnable(request, qllm_regime)
    called = False

    def ask(
        benchmark: str, *, metric: str | None = None, items: int | None = None, tolerance: float | None = None
    ) -> Record:
        nonlocal called
        called = True
        broken: QllmError | None = None
        try:
            question = session.question(request.node, regime, benchmark, metric, items, tolerance)
            record = session.answer(question, regime)
        except QllmError as error:
            broken = error
        if isinstance(broken, UnavailableError):
            pytest.skip(str(broken))
        if broken is not None:  # out of the except clause, so that the report has this line and no chain of causes
            pytest.fail(f"{benchmark}[{regime.name}]: {broken}", pytrace=False)
        request.node.stash.setdefault(RECORDS, []).append(record.to_json())
        session.conclude(record, request.node)
        return record

    yield ask
    if not called and request.node.stash.get(OUTCOME, None) == "passed":
        pytest.fail("the test asked for `gate` and never called it: nothing was measured", pytrace=False)
