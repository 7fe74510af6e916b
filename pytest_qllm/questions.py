"""From the words of a test, its markers and the options to what the test asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.options import Settings, cache_directory
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import Regime

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.benchmarks.own_score import Scorer
    from pytest_qllm.benchmarks.session_names import SessionNames
    from pytest_qllm.gate import Question
    from pytest_qllm.verdict.expected import ExpectedLosses
    from pytest_qllm.verdict.sequential import Design
    from pytest_qllm.verdict.tolerance import Tolerances


class Questions:
    """What the tests of one session ask."""

    def __init__(self, config: pytest.Config, settings: Settings, regimes: RegimeCatalog) -> None:
        self.config = config
        self.settings = settings
        self.regimes = regimes

    def of_benchmark(
        self,
        node: pytest.Item,
        regime: Regime,
        name: str,
        metric: str | None,
        items: int | None,
        tolerance: float | str | None,
        score: Scorer | None = None,
    ) -> Question:
        """What a call of ``gate`` asks: the call's own words, over markers, over the benchmark's."""
        from pytest_qllm.gate import Question
        from pytest_qllm.verdict.tolerance import WITHOUT_DEFAULT, Tolerance, check

        if score is not None and metric is not None:
            raise QllmError(f"metric={metric!r} and score= are two metrics; give one of them")
        benchmark = self.names.get(name, score)
        self._check_judge(benchmark)
        metric = metric or benchmark.metric
        kind = benchmark.table_of(metric)
        given = (tolerance, marked_tolerance(node, regime.judged_bits))
        words = [check(word, kind, node.name) for word in given if word is not None]
        tables = self._tables()
        if words:
            allowed = words[0]
        elif regime.is_baseline and kind in WITHOUT_DEFAULT:
            allowed = Tolerance(0.0)  # of nobody: it is measured whether or not there is a word on what others may lose
        else:
            allowed = tables.of(benchmark.name, kind, regime.judged_bits, own=kind == benchmark.kind)
        said = items if items is not None else _marked_items(node)
        count = self._counted(self._items(benchmark) if said is None else said)
        # A bound is for the benchmark's own kind of metric: points of accuracy are none of probability.
        known = kind == benchmark.kind
        expected = self._losses().of(regime.name, benchmark.name, allowed) if known else None
        behind = benchmark.behind_of(metric)
        return Question(
            benchmark,
            metric,
            count,
            allowed.value,
            self._design(),
            expected,
            said is not None,
            allowed.relative,
            None if behind is None else (behind, tables.of(benchmark.name, "accuracy", regime.judged_bits, own=False)),
        )

    def of_dimension(
        self,
        node: pytest.Item,
        regime: Regime,
        name: str,
        benchmarks: Sequence[str] | None,
        items: int | None,
        tolerance: float | str | None,
    ) -> Question:
        """What a call of ``gate.dimension`` asks; ``items`` are of each benchmark.

        Raises:
            UnavailableError: if fewer than two of its benchmarks are measured in this session.
        """
        from pytest_qllm.dimension import Dimension, members, pooled_kind
        from pytest_qllm.gate import Question
        from pytest_qllm.verdict.tolerance import POOLED, check

        said = items if items is not None else _marked_items(node)
        parts = members(name, list(self.names.catalog), benchmarks)
        counts = self._counts(name, parts, said, named=benchmarks is not None)
        given = (tolerance, marked_tolerance(node, regime.judged_bits))
        words = [word for word in given if word is not None]
        kind = POOLED[pooled_kind(name, self.names.catalog)]
        table = self._tables().of(name, kind, regime.judged_bits)
        allowed = check(words[0], kind, node.name) if words else table
        dimension = Dimension.of(name, [part for part in parts if part.name in counts], list(counts.values()))
        return Question(
            dimension,
            dimension.metric,
            sum(counts.values()),
            allowed.value,
            self._design(),
            self._losses().of(regime.name, name, allowed),
            said is not None,
            allowed.relative,
        )

    @cached_property
    def names(self) -> SessionNames:
        """Benchmarks by what tests call them."""
        from pytest_qllm.benchmarks.elsewhere import TaskFiles
        from pytest_qllm.benchmarks.session_names import SessionNames
        from pytest_qllm.store import Store

        added = [benchmark for benchmarks in self.config.hook.pytest_qllm_benchmarks() for benchmark in benchmarks]
        return SessionNames(added, TaskFiles(self.config.rootpath, Store(cache_directory())))

    def _counts(self, name: str, parts: Sequence[Benchmark], said: int | None, *, named: bool) -> dict[str, int]:
        """Items of each benchmark of a dimension; without those that this session leaves out, unless they are named.

        Of benchmarks that ask of the same documents only the first is taken: its answers and the others' are not
        independent.
        """
        from pytest_qllm.dimension import LEAST

        found: dict[str, int] = {}
        without: list[str] = []
        asked: dict[str, str] = {}
        for part in parts:
            try:
                self._check_judge(part)
                count = self._counted(self._items(part) if said is None else said)
                other = asked.setdefault(part.data or part.name, part.name)
                if other != part.name and named:
                    raise QllmError(f"{other} and {part.name} ask of the same documents; name one of them")
                if other == part.name:
                    found[part.name] = count
            except UnavailableError as error:
                if named:
                    raise
                without.append(str(error))
        if len(found) < LEAST:
            raise UnavailableError(f"pooling {name} needs {LEAST} of its benchmarks: {'; '.join(without)}")
        return found

    def _check_judge(self, benchmark: Benchmark) -> None:
        from pytest_qllm.benchmarks.benchmark import without_judge

        if benchmark.judged and not self.settings.judge:
            raise UnavailableError(without_judge(benchmark))

    def _tables(self) -> Tolerances:
        from pytest_qllm.verdict.tolerance import COST, DEFAULTS, WITHOUT_DEFAULT, Tolerances

        given = self.settings.tolerances
        dimensions = [one.dimension for one in self.names.catalog]
        named = [name for name in given if name not in (*DEFAULTS, *WITHOUT_DEFAULT, *COST, *dimensions)]
        known = dict.fromkeys([*self.names.kinds(named), *dimensions])
        return Tolerances.from_toml(self.names.renamed(given), list(known), self.settings.tolerances_file)

    def _losses(self) -> ExpectedLosses:
        from pytest_qllm.dimension import pooled_kind
        from pytest_qllm.verdict.expected import ExpectedLosses

        given, catalog = self.settings.expected, self.names.catalog
        tables = [table for table in given.values() if isinstance(table, Mapping)]
        dimensions = {name: str(pooled_kind(name, catalog)) for name in {one.dimension for one in catalog}}
        return ExpectedLosses.from_toml(
            {name: self.names.renamed(table) if isinstance(table, Mapping) else table for name, table in given.items()},
            lambda name: self.regimes.get(name).name,
            dimensions | self.names.kinds(name for table in tables for name in table if name not in dimensions),
            self.settings.tolerances_file,
        )

    def _design(self) -> Design:
        from pytest_qllm.verdict.sequential import Design

        alpha = self.settings.alpha
        return Design.fixed(alpha) if self.settings.fixed_n else Design(alpha=alpha)

    def _counted(self, count: object) -> int:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise QllmError(f"items is {count!r}; expected a whole number from 1")
        return min(count, self.settings.max_items) if self.settings.max_items else count

    def _items(self, benchmark: Benchmark) -> int:
        """How many items a test measures that does not say it itself.

        Raises:
            UnavailableError: if the suite leaves the benchmark out.
        """
        from pytest_qllm.models.source import DEFAULT

        if self.settings.suite == "paper" and benchmark.paper is not None:
            if not benchmark.paper:
                raise UnavailableError(f"{benchmark.name} is not of the paper's: measured with --qllm-suite=quick")
            return benchmark.paper
        if self.settings.model != DEFAULT:
            return benchmark.items
        if not benchmark.quick:
            raise UnavailableError(
                f"{benchmark.name} is left out with the built-in model: name a model, or how many items: "
                f"gate({benchmark.name!r}, items=100)"
            )
        return benchmark.quick


def _marked_items(node: pytest.Item) -> int | None:
    marker = node.get_closest_marker("qllm_items")
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        raise QllmError(f"{node.name}: qllm_items takes one argument, a number of items")
    return marker.args[0]  # type: ignore[no-any-return]


def marked_tolerance(node: pytest.Item, bits: int) -> float | str | None:
    """What the test's marker says for a width."""
    marker = node.get_closest_marker("qllm_tolerance")
    if marker is None:
        return None
    if len(marker.args) != 1 or marker.kwargs:
        raise QllmError(f"{node.name}: qllm_tolerance takes one argument, a number or a table such as {{4: 0.05}}")
    value = marker.args[0]
    if isinstance(value, Mapping):
        return {str(width): allowed for width, allowed in value.items()}.get(str(bits))
    return value  # type: ignore[no-any-return]
