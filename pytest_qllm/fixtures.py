"""The fixtures that tests use: ``gate`` and ``regime``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.session import session_of
from pytest_qllm.stash import FETCHED, KERNELS, OUTCOME, PLANS, RECORDS

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.gate import Question
    from pytest_qllm.plan import Plan
    from pytest_qllm.regimes.regime import Regime
    from pytest_qllm.report.kernel_record import KernelRecord
    from pytest_qllm.report.record import Record

Answer = TypeVar("Answer")


@pytest.fixture
def qllm_regime(request: pytest.FixtureRequest) -> str:
    """Name of the regime under test; what is parametrized. A project's own ``regime`` or ``gate`` is left alone."""
    return str(request.param)


@pytest.fixture
def regime(request: pytest.FixtureRequest, qllm_regime: str) -> Regime:
    """The regime under test: the baseline ``fp16`` or one of ``--qllm-regimes``."""
    return runnable(request, qllm_regime)


def runnable(request: pytest.FixtureRequest, name: str) -> Regime:
    """The regime of that name, or a skip with what it needs."""
    session = session_of(request.config)
    regime = session.regimes.get(name)
    missing = regime.missing()
    if missing is not None:
        pytest.skip(f"{regime.name} needs a library that is not here: {missing}")
    reason = regime.needs_device()
    if reason is not None:
        pytest.skip(reason)
    if regime.device and session.settings.device == "cpu":
        pytest.skip(f"{regime.name} runs on {regime.device.upper()} only, and --qllm-device is 'cpu'")
    return regime


class GateFixture:
    """What a test calls ``gate``: each call ends the test as its verdict says, or returns the record of a PASS."""

    def __init__(self, node: pytest.Item, regime: Regime) -> None:
        self._node = node
        self._regime = regime
        self._session = session_of(node.config)
        self.called = False

    def __call__(
        self,
        benchmark: str | os.PathLike[str],
        *,
        metric: str | None = None,
        items: int | None = None,
        tolerance: float | str | None = None,
        score: Callable[[dict[str, Any], str], bool | float] | None = None,
    ) -> Record:
        """The regime's verdict on a benchmark, or the baseline's record.

        Args:
            benchmark: name in the catalog, or of any of lm-eval's tasks, groups and tags; or the path of a task file
                (``.yaml``) or of questions with answers (``.jsonl``), relative to the rootdir.
            metric: on which the verdict is; the benchmark's own by default.
            items: how many are measured.
            tolerance: what may be lost: a proportion, a ratio of perplexities, or the share of the baseline's score
                that has to be kept, such as ``"99%"``.
            score: what an answer in words is worth, from the item's document and the answer: ``-> bool`` for right or
                wrong, ``-> float`` for a grade from 0 to 1.
        """
        name = os.fspath(benchmark)

        def question(regime: Regime) -> Question:
            return self._session.questions.of_benchmark(self._node, regime, name, metric, items, tolerance, score)

        return self._judged(name, question)

    def dimension(
        self,
        name: str,
        *,
        benchmarks: Sequence[str] | None = None,
        items: int | None = None,
        tolerance: float | str | None = None,
    ) -> Record:
        """The regime's verdict on a dimension as a whole, at a tighter tolerance than each of its benchmarks has.

        Its accuracies are judged together, or its perplexities where it has more of those.

        Args:
            name: of the dimension, such as ``"knowledge"``.
            benchmarks: which of them; all by default.
            items: how many of each are measured; as many as its own test does by default.
            tolerance: what may be lost per item, as a proportion, or the share of the baseline's score to keep; the
                largest ratio of perplexities.
        """
        return self._judged(
            name,
            lambda regime: self._session.questions.of_dimension(self._node, regime, name, benchmarks, items, tolerance),
        )

    def _judged(self, subject: str, question: Callable[[Regime], Question]) -> Record:
        def planned() -> Plan:
            regime = self._session.sized(self._regime)
            return self._session.plan(question(regime), regime, self._node, question)

        def answer() -> Record:
            question(self._regime)  # a wrong one is said before anything is made
            regime = self._session.sized(self._regime)
            return self._session.answer(question(regime), regime, self._node)

        if self._session.settings.fetch:
            self._fetch(subject, lambda: question(self._regime).benchmark)
        if self._session.settings.plan:
            plan = self._answered(subject, planned)
            self._node.stash.setdefault(PLANS, []).append(plan.to_json())
            pytest.skip("planned")
        record = self._answered(subject, answer)
        record = replace(record, rerun=self._rerun())
        self._node.stash.setdefault(RECORDS, []).append(record.to_json())
        self._session.conclude(record)
        return record

    def kernel(self) -> KernelRecord:
        """Whether the library's kernel computes what the regime's weights say; skips where there is none to compare."""
        if self._session.settings.fetch:
            self._fetch("kernel", lambda: None)
        if self._session.settings.plan:
            pytest.skip("a kernel is not planned: it has no items")
        record = self._answered("kernel", lambda: self._session.gate.kernel(self._regime))
        record = replace(record, rerun=self._rerun())
        self._node.stash.setdefault(KERNELS, []).append(record.to_json())
        if not record.agrees:
            pytest.fail(record.message(record.rerun), pytrace=False)
        return record

    def _fetch(self, subject: str, asked: Callable[[], Benchmark | None]) -> NoReturn:
        """Bring what the test needs, and end it."""
        found = self._answered(subject, lambda: self._session.fetch(asked(), self._regime))
        self._node.stash.setdefault(FETCHED, []).extend(one.to_json() for one in found)
        pytest.skip("fetched")

    def _rerun(self) -> str:
        return self._session.rerun(self._node, self._regime.name)

    def _answered(self, subject: str, answer: Callable[[], Answer]) -> Answer:
        self.called = True
        broken: QllmError
        try:
            return answer()
        except QllmError as error:
            broken = error
        # Out of the except clause, so that the report has this line and no chain of causes.
        if isinstance(broken, UnavailableError):
            pytest.skip(str(broken))
        pytest.fail(f"{subject}[{self._regime.name}]: {broken}", pytrace=False)


@pytest.fixture
def gate(request: pytest.FixtureRequest, qllm_regime: str) -> Iterator[GateFixture]:
    """Call it with a benchmark's name: the test passes, fails or skips with the regime's verdict.

    ``gate(benchmark, metric=None, items=None, tolerance=None, score=None)``: the metric on which the verdict is, the
    number of items, the tolerance, and a function that scores an answer, instead of the benchmark's own. Returns the
    record of a PASS (or of the baseline). ``gate.dimension(name)`` judges a dimension as a whole.
    ``gate.kernel()`` compares the library's kernel with the weights that it multiplies.
    """
    asked = GateFixture(request.node, runnable(request, qllm_regime))
    yield asked
    never_called(request, "gate", asked.called)


def never_called(request: pytest.FixtureRequest, fixture: str, called: bool) -> None:
    """Fail a test that passed without a word to its fixture."""
    if not called and request.node.stash.get(OUTCOME, None) == "passed":
        pytest.fail(f"the test asked for `{fixture}` and never called it: nothing was measured", pytrace=False)
