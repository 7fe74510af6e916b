"""Benchmarks that no catalog lists: any of lm-eval's tasks by name, and the user's own task and question files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks import questions
from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.questions import ITEMS
from pytest_qllm.benchmarks.task_index import Function, TaskIndex, read_task, tasks_folder
from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store

TASK_SUFFIXES = (".yaml", ".yml")
ITEMS_BUILTIN_MODEL = 40
"""Of a task whose answers are generated: the built-in model is there to show the gate, in minutes."""

_OUTPUT_TYPES = ("multiple_choice", "loglikelihood", "loglikelihood_rolling", "generate_until")
_OF_A_GROUP = ("group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag")
_DEFAULT_METRICS = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("acc",),
    "generate_until": ("exact_match",),
}
"""lm-eval's, of a task that names none."""
_LESS_IS_BETTER = ("perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter")
_OF_ALL_ITEMS = ("mcc", "bypass", "acc_all", "f1")
"""Metrics of choices that no single item has."""
_WORDS: Mapping[str, type] = {
    "dimension": str,
    "metric": str,
    "items": int,
    "cluster": list,
    "kinds": dict,
    "chat": bool,
}
"""Of ``metadata: {qllm: ...}``: what lm-eval's format has no word for."""

Leaf = tuple[str, dict[str, Any]]
"""A task's name, and its file (``include``) with what is put over it."""


@dataclass(frozen=True)
class TaskFiles:
    """Where benchmarks are found: paths are relative to ``root``; the list of lm-eval's names is kept in ``cache``."""

    root: Path
    cache: Store

    def find(self, name: str, *, scored: bool = False) -> Benchmark | None:
        """One of lm-eval's tasks, groups or tags, or a file of the user's; None if there is none of that name.

        Args:
            name: as a test wrote it.
            scored: whether a function of the user's says what an answer is worth.

        Raises:
            QllmError: if there is one and it cannot be gated.
        """
        path = Path(name)
        if self.is_path(name):
            file = (self.root / path.expanduser()).resolve()
            if not file.is_file():
                raise QllmError(f"there is no file {file}; paths are relative to the rootdir {self.root}")
            return questions.benchmark_of(file, scored=scored) if path.suffix == questions.SUFFIX else self._own(file)
        index = self._index
        if name in index.tasks:
            config = read_task(tasks_folder() / index.tasks[name])
            _check(config, name)
            return _made(name, [config], index.tasks[name], hub=str(config.get("dataset_path") or ""))
        if name in index.groups or name in index.tags:
            return self._group(name)
        return None

    def is_path(self, name: str) -> bool:
        """Whether a name is the path of a file, whatever is there."""
        return Path(name).suffix in (*TASK_SUFFIXES, questions.SUFFIX)

    def nearest(self, name: str, others: Iterable[str]) -> list[str]:
        """Names that are written much alike, the likest first."""
        return get_close_matches(name, dict.fromkeys((*others, *self._index)), n=5, cutoff=0.7)

    @cached_property
    def _index(self) -> TaskIndex:
        return TaskIndex.installed(self.cache)

    def _group(self, name: str) -> Benchmark:
        leaves = dict(self._leaves(name, {}))
        if not leaves:
            raise QllmError(f"{name} is a group of lm-eval's without tasks")
        configs = []
        for task, part in leaves.items():
            config = {**read_task(tasks_folder() / part["include"]), **part}
            _check(config, task)
            configs.append(config)
        kinds = sorted({str(config["output_type"]) for config in configs})
        if len(kinds) > 1:
            raise QllmError(
                f"{name} has tasks of several kinds ({', '.join(kinds)}), whose scores are no common one: gate its "
                f"parts one by one, {_some(list(leaves))}"
            )
        hub = ", ".join(dict.fromkeys(str(config.get("dataset_path") or "") for config in configs))
        return _made(name, configs, next(iter(leaves.values()))["include"], hub=hub, parts=leaves)

    def _leaves(self, name: str, over: Mapping[str, Any], within: tuple[str, ...] = ()) -> Iterator[Leaf]:
        """The tasks of a name, as lm-eval expands it: what a group says of its tasks is put over theirs."""
        index = self._index
        if name in index.tasks:
            yield name, {**over, "include": index.tasks[name]}
        elif name in index.tags:
            for task in sorted(index.tags[name]):
                yield from self._leaves(task, over, within)
        elif name in index.groups and name not in within:
            content = read_task(tasks_folder() / index.groups[name])
            yield from self._members(content, name, over, (*within, name))
        else:
            raise QllmError(f"{' of '.join((name, *reversed(within)))} is none of lm-eval's tasks")

    def _members(
        self, group: Mapping[str, Any], name: str, over: Mapping[str, Any], within: tuple[str, ...]
    ) -> Iterator[Leaf]:
        own = {key: value for key, value in group.items() if key not in _OF_A_GROUP}
        functions = [key for key, value in own.items() if isinstance(value, Function)]
        if functions:
            raise QllmError(f"{name} sets {functions[0]!r} of its tasks to a function, which is not supported")
        over = {**own, **over}
        members = group.get("task")
        for member in [members] if isinstance(members, str) else members or []:
            if isinstance(member, str):
                yield from self._leaves(member, over, within)
            elif "group" in member and member["group"] not in self._index.groups:
                yield from self._members(member, name, over, within)
            else:
                fields = {key: value for key, value in member.items() if key not in ("group", "task", "task_alias")}
                yield from self._leaves(str(member.get("group") or member["task"]), {**over, **fields}, within)

    def _own(self, file: Path) -> Benchmark:
        """A task file of the user's, with the data that lie beside it, or in the rootdir."""
        config = read_task(file)
        if not isinstance(config.get("task"), str) or "group" in config:
            raise QllmError(f"{file} is a group or has no `task: NAME`; expected the file of one task")
        name = file.stem
        _check(config, name)
        data = _data_files(config, (file.parent, self.root))
        parts = {} if data is None else {"": {"dataset_kwargs": {**config["dataset_kwargs"], "data_files": data}}}
        files = tuple(one for names in (data or {}).values() for one in names)
        shown = ", ".join(Path(one).name for one in files) or str(config.get("dataset_path") or file.name)
        return _made(name, [config], str(file), hub=shown, parts=parts, own=files)


def _check(config: Mapping[str, Any], name: str) -> None:
    """Refuse what is not supported.

    Raises:
        QllmError: in one line.
    """
    if "class" in config:
        raise QllmError(f"{name} is a task in Python and not in YAML, which is not supported")
    kind = config.get("output_type")
    if kind not in _OUTPUT_TYPES:
        raise QllmError(f"{name} has the output_type {kind!r}; supported are {', '.join(_OUTPUT_TYPES)}")
    if config.get("unsafe_code"):
        raise QllmError(f"{name} runs what the model writes on this machine, which is not supported")
    for field, what in (("doc_to_image", "images"), ("doc_to_audio", "sounds")):
        if config.get(field):
            raise QllmError(f"{name} asks about {what}, which is not supported")


def _made(
    name: str,
    configs: Sequence[Mapping[str, Any]],
    task: str,
    *,
    hub: str,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    own: tuple[str, ...] = (),
) -> Benchmark:
    said = _said(configs[0], name) if len(configs) == 1 else {}
    kind = configs[0]["output_type"]
    words = kind == "generate_until"
    items = said.get("items", ITEMS)
    return Benchmark(
        name,
        said.get("dimension", "other"),
        task,
        said.get("metric") or _metric(name, configs),
        items,
        items if not words or "items" in said else min(items, ITEMS_BUILTIN_MODEL),
        hub=hub,
        chunk=40 if kind in ("multiple_choice", "loglikelihood") else 8,
        subsets=tuple(one for one in parts or {} if one),
        kinds=said.get("kinds", {}),
        cluster=tuple(said.get("cluster", ())),
        chat=said.get("chat", False),
        parts=parts or {},
        own=own,
    )


def _metric(name: str, configs: Sequence[Mapping[str, Any]]) -> str:
    """The first metric that all tasks have, in the order of the first one, of which more is better."""
    every = [metrics_of(config) for config in configs]
    common = [metric for metric in every[0] if all(metric in others for others in every)]
    if not common:
        listed = [str(one.get("metric")) for one in configs[0].get("metric_list") or ()]
        raise QllmError(
            f"{name} has no metric that every item has and of which more is better; its tasks have "
            f"{', '.join(listed) or 'none'}"
        )
    return common[0]


def metrics_of(config: Mapping[str, Any]) -> list[str]:
    """Metrics of a task that a gate can be on, in its own order; of several filters the first comes first."""
    kind = str(config["output_type"])
    if kind == "loglikelihood_rolling":
        return ["perplexity"]
    listed = config.get("metric_list") or [{"metric": metric} for metric in _DEFAULT_METRICS[kind]]
    names = [
        str(one["metric"]).rpartition(".")[2] if isinstance(one["metric"], Function) else str(one["metric"])
        for one in listed
        if one.get("higher_is_better", str(one["metric"]) not in _LESS_IS_BETTER)
    ]
    if kind != "generate_until":
        return [one for one in names if config.get("process_results") or one not in _OF_ALL_ITEMS]
    filters = [str(one["name"]) for one in config.get("filter_list") or ()] or ["none"]
    return [one if last == "none" else f"{one},{last}" for one in names for last in filters]


def _said(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a file says of itself under ``metadata: {qllm: ...}``.

    Raises:
        QllmError: for a word that is none, or a value of another kind.
    """
    metadata = config.get("metadata")
    said = metadata.get("qllm", {}) if isinstance(metadata, Mapping) else {}
    unknown = [str(word) for word in said if word not in _WORDS] if isinstance(said, Mapping) else [str(said)]
    if unknown:
        raise QllmError(f"{name}: metadata.qllm has {unknown[0]!r}; expected {', '.join(_WORDS)}")
    for word, value in said.items():
        if not isinstance(value, _WORDS[word]) or (isinstance(value, int) and word == "items" and value < 1):
            raise QllmError(f"{name}: metadata.qllm.{word} is {value!r}; expected a {_WORDS[word].__name__}")
    return dict(said)


def _data_files(config: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, list[str]] | None:
    """The local files that a task loads, by split, as full paths; None where it loads others.

    Raises:
        QllmError: if one is not there.
    """
    given = (config.get("dataset_kwargs") or {}).get("data_files")
    if not given:
        return None
    by_split = given if isinstance(given, Mapping) else {str(config.get("test_split") or "train"): given}
    named = {split: [files] if isinstance(files, str) else list(files) for split, files in by_split.items()}
    if any("://" in file for files in named.values() for file in files):
        return None
    return {split: [one for file in files for one in _found(file, folders)] for split, files in named.items()}


def _found(file: str, folders: Sequence[Path]) -> list[str]:
    places = [Path(file).expanduser()] if Path(file).is_absolute() else [folder / file for folder in folders]
    for place in places:
        found = sorted(place.parent.glob(place.name))
        if found:
            return [str(one.resolve()) for one in found]
    raise QllmError(f"there is no file {' or '.join(map(str, places))}, which the task's data_files name")


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
