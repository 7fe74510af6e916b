"""A benchmark's task files: where they are, what they say, and what of them decides the scores."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.task_index import tasks_folder
from pytest_qllm.errors import QllmError
from pytest_qllm.store import digest

_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


def identity(benchmark: Benchmark) -> dict[str, Any]:
    """What of a benchmark's tasks decides its prompts and scores, as JSON content."""
    shots = {} if benchmark.shots is None else {"shots": benchmark.shots}
    over = {} if not benchmark.parts else {"parts": _told(benchmark)}
    return {
        "task": _name(benchmark.task),
        "own": _own_words(benchmark.task),
        "lm_eval": importlib.metadata.version("lm_eval"),
        **shots,
        **over,
    }


def config_of(benchmark: Benchmark, subset: str, splits: Mapping[str, Any] | None, source: str) -> dict[str, Any]:
    """The configuration of the task of a subset, for lm-eval.

    Args:
        benchmark: whose task it is.
        subset: one of its subsets, or "".
        splits: its documents by split; None where the task loads its own.
        source: where they are from, for people.

    Raises:
        QllmError: if there is no such file, or its splits are not those of the documents.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    part = dict(benchmark.parts.get(subset, {}))
    file = task_file(str(part.pop("include", benchmark.task)).format(subset=subset))
    if not file.is_file():
        raise QllmError(f"{benchmark.name}: no task file at {file}; expected one of lm-eval's, or a full path")
    config: dict[str, Any] = {**load_yaml(file), **part}
    if benchmark.shots is not None:
        config["num_fewshot"] = benchmark.shots
    for name in ("tag", "group", "task_alias"):
        config.pop(name, None)
    if splits is not None:
        config["custom_dataset"] = lambda **_: splits
        shots = config.get("fewshot_split")
        if config.get("num_fewshot") and shots and shots not in splits:
            # lm-eval would take them from the questions themselves.
            raise QllmError(
                f"{benchmark.name} shows {config['num_fewshot']} examples of its split {shots!r}, which {source} has "
                f"not; it has: {', '.join(splits)}"
            )
        for name in _SPLITS:
            if config.get(name) not in splits:
                config[name] = None
        if config["validation_split"] is None and config["test_split"] is None:
            raise QllmError(
                f"{source} has the splits {', '.join(splits)} for {benchmark.name}, none of which the task evaluates on"
            )
        if any(len(data) == 0 for data in splits.values()):
            raise QllmError(f"{benchmark.name} has no items in {source}")
    return config


def built(benchmark: Benchmark, config: dict[str, Any], source: str) -> Any:
    """lm-eval's task of a configuration.

    Raises:
        QllmError: if it cannot be made, in one line.
    """
    from lm_eval.api.task import ConfigurableTask

    if config.get("class") is not None:
        raise QllmError(f"{benchmark.name} is a task in Python and not in YAML, which is not supported")
    try:
        task = ConfigurableTask(config=config)
    except QllmError:
        raise
    except Exception as error:  # a document without a field fails in jinja, the hub in its own ways
        raise QllmError(
            f"lm-eval cannot prepare {benchmark.name} from {source} ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not callable(task.config.process_results):
        # Those that lm-eval looks for on the hub and does not find are None there, which fails when they are called.
        absent = [name for name, function in task._metric_fn_list.items() if function is None]
        for name in absent:
            del task._metric_fn_list[name]
        if absent and not task._metric_fn_list:
            raise QllmError(
                f"{benchmark.name} is scored by {', '.join(absent)}, which is none of lm-eval's own metrics and was "
                "not to be had from the hub (`evaluate`)"
            )
    task.set_fewshot_seed(seed=1234)  # lm-eval's own default: the shots are those of its published scores
    return task


def loaded(task: Any) -> tuple[dict[str, Any], list[str]]:
    """What a task loaded itself of the splits that are asked or give shots, and what it loads them by."""
    told = task.config
    asked = [told.test_split if told.test_split is not None else told.validation_split]
    if told.num_fewshot:
        asked.append(told.fewshot_split)
    splits = {str(name): task.dataset[name] for name in asked if name in task.dataset}
    return splits, [str(one) for one in (told.dataset_path, told.dataset_name, *asked)]


def task_file(task: str) -> Path:
    """A task's file: of lm-eval's (relative to its ``tasks``), of ours (``qllm:``), or a user's (a full path)."""
    if task.startswith("qllm:"):
        return Path(__file__).parent / "tasks" / task.removeprefix("qllm:")
    return tasks_folder() / task


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _told(benchmark: Benchmark) -> dict[str, Any]:
    """The parts by their words: a user's files by name and content, as they may lie elsewhere on another machine."""
    hidden = ("include", "dataset_kwargs") if benchmark.own else ("include",)
    return {
        subset: {
            "include": _name(part.get("include", benchmark.task)),
            "own": _own_words(part.get("include", benchmark.task)),
            **{name: value for name, value in part.items() if name not in hidden},
        }
        for subset, part in benchmark.parts.items()
    }


def _name(task: str) -> str:
    return Path(task).name if Path(task).is_absolute() else task


def _own_words(task: str) -> str:
    """What of a task no version of lm-eval tells: our own file, or a user's with all that it may name beside it."""
    file = task_file(task)
    if task.startswith("qllm:") and "/" not in task:
        return "".join(one.read_text() for one in _with_includes(file))
    if not (task.startswith("qllm:") or Path(task).is_absolute()):
        return ""
    beside = sorted(one for one in file.parent.glob("*") if one.suffix in (".yaml", ".py") or one == file)
    return digest([[one.name, one.read_text()] for one in beside])


def _with_includes(file: Path) -> list[Path]:
    """A task file of ours, what it includes, and the modules of its functions."""
    text = file.read_text()
    named = re.findall(r"^include: (\S+)", text, re.MULTILINE)
    modules = [f"{name}.py" for name in re.findall(r"!function (\w+)\.", text)]
    return [file, *(file.parent / name for name in dict.fromkeys([*named, *modules]))]
