"""Items and scores by lm-eval's own task definitions: prompts, targets, filters and metrics are the task's."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from os.path import commonprefix
from pathlib import Path
from typing import Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.bias import described
from pytest_qllm.benchmarks.chance import chance
from pytest_qllm.benchmarks.corpus import BLEUS, corpus_metric, statistics
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.graded import graded, right_choice
from pytest_qllm.benchmarks.needs import prepare
from pytest_qllm.engine.engine import Continuation, Engine, Generated, Generation, Scored
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.measurement import ItemScore
from pytest_qllm.quiet import quiet
from pytest_qllm.store import Store, digest

_GENERATION_LIMIT = 256  # lm-eval's default for a task that names none (max_gen_toks of its `hf` model)
_LIMIT_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # those that lm-eval takes
_TOP_K = 50  # transformers' default where something is sampled
_ITEM_FORMAT = 5  # of the items in the store
SUBSET = "{subset}"
CLUSTER = " / "
"""Between the parts of a cluster's name."""
_PROBED = 8  # documents whose contexts tell what all contexts of a subset begin with


@dataclass(frozen=True)
class Item:
    """One item as its task asks it.

    Attributes:
        id: hash of the document and of everything that is asked.
        output_type: lm-eval's name for the kind of request.
        document: the task's document, from which it scores the answers.
        requests: arguments of each request, as lm-eval's instances have them.
        chance: score expected of a random answer.
        subset: the subset that the item is from; empty if the benchmark has none.
        shared: leading characters of its contexts that other items of the subset begin with too.
        target: index of the right choice, or the text of the right answer, for people to read; None if there is none.
        cluster: of items that are not independent; None where it is its own.
    """

    id: str
    output_type: str
    document: dict[str, Any]
    requests: tuple[tuple[Any, ...], ...]
    chance: float
    subset: str
    shared: int = 0
    target: int | str | None = None
    cluster: str | None = None

    def continuations(self) -> list[Continuation]:
        return [Continuation(context, text, self.shared) for context, text in self.requests]

    def generation(self, seed: int) -> Generation:
        """The request of a generative task; where it samples, with a seed of the item's own."""
        context, options = self.requests[0]
        until = options.get("until") or []
        temperature = float(options.get("temperature") or 0.0)
        samples = bool(options.get("do_sample", temperature > 0))
        return Generation(
            context,
            tuple([until] if isinstance(until, str) else until),
            int(next((options[name] for name in _LIMIT_NAMES if name in options), _GENERATION_LIMIT)),
            self.shared,
            temperature=(temperature or 1.0) if samples else 0.0,
            top_k=int(options.get("top_k", _TOP_K) or 0) if samples else 0,
            top_p=float(options.get("top_p") or 1.0),
            seed=int(hashlib.sha256(f"{seed}:{self.id}".encode()).hexdigest()[:8], 16),
        )


class LmEvalBenchmark:
    """A benchmark with its data: makes items, and scores an engine's answers to them."""

    def __init__(self, benchmark: Benchmark, source: DataSource, seed: int) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise UnavailableError("benchmarks need lm-eval: pip install 'pytest-qllm[model]'")
        self.benchmark = benchmark
        self.source = source
        self.seed = seed
        self._tasks: dict[str, Any] = {}

    def items(self, count: int, store: Store) -> list[Item]:
        """The first ``count`` items of the benchmark's fixed shuffled order (all, if it has fewer).

        The order is by a hash of seed and document: it depends neither on the source's order nor on a generator's
        implementation, and the first n are the same whatever ``count`` is.

        Raises:
            QllmError: if the benchmark has no items.
        """
        identity = self.source.identity(self.benchmark)
        key = digest([_ITEM_FORMAT, self.identity(), self.benchmark.cluster, identity, self.seed, count])
        known = store.read("items", key) if identity is not None else None
        if known is None:
            store.progress(f"preparing the items of {self.benchmark.name}")
            known = [vars(item) for item in self._prepare(count)]
            if identity is not None:
                store.write(known, "items", key)
        return [
            Item(**{**fields, "requests": tuple(tuple(request) for request in fields["requests"])}) for fields in known
        ]

    def identity(self) -> dict[str, Any]:
        """What decides the prompts and the scores, but for the documents: part of the store's key."""
        shots = self.benchmark.shots
        return {
            "task": self.benchmark.task,
            "own": _own_words(self.benchmark.task),
            "lm_eval": importlib.metadata.version("lm_eval"),
            **({} if shots is None else {"shots": shots}),
        }

    def judging(self) -> dict[str, Any]:
        """What decides the scores of given answers besides the task: nothing, where there is no judge."""
        return {}

    def score(self, items: Sequence[Item], engine: Engine) -> list[ItemScore]:
        """Ask the engine and score what it says, item by item."""
        kind = items[0].output_type
        with quiet():
            if kind in ("multiple_choice", "loglikelihood"):
                answers = engine.continuations([item.continuations() for item in items])
                return [self._score_choices(item, scored) for item, scored in zip(items, answers, strict=True)]
            if kind == "loglikelihood_rolling":
                rolled = engine.rolling([item.requests[0][0] for item in items])
                return [_score_text(item, scored) for item, scored in zip(items, rolled, strict=True)]
            made = engine.generations([item.generation(self.seed) for item in items])
            return [self._score_generated(item, one) for item, one in zip(items, made, strict=True)]

    def _score_choices(self, item: Item, scored: Sequence[Scored]) -> ItemScore:
        bad = [one for one in scored if not isfinite(one.loglikelihood)]
        if bad:
            raise QllmError(
                f"{self.benchmark.name}: the model gives a log-likelihood of {bad[0].loglikelihood} on item {item.id}; "
                "its weights or its kernel are broken"
            )
        task = self._task(item.subset)
        results = [(one.loglikelihood, one.is_greedy) for one in scored]
        metrics = task.process_results(item.document, results)
        metrics.pop("perplexity", None)  # lambada's, which is of the last word only and not of the text
        chosen = item.output_type == "multiple_choice"
        if chosen:
            metrics.update(graded(task, item.document, [one.loglikelihood for one in scored]))
        bias, parts = described(metrics)
        best = max(range(len(results)), key=lambda at: results[at][0])
        return ItemScore(
            item.id,
            best if chosen else int(scored[0].is_greedy),
            {**_numbers(task, metrics), **bias},
            [one.loglikelihood for one in scored],
            [one.tokens for one in scored],
            item.chance,
            item.cluster,
            subset=item.subset or None,
            parts=parts,
        )

    def _score_generated(self, item: Item, made: Generated) -> ItemScore:
        import numpy as np
        from lm_eval.api.instance import Instance

        task = self._task(item.subset)
        metrics: dict[str, float] = {}
        parts: dict[str, list[float]] = {}
        for ensemble in task._filters:
            instance = Instance("generate_until", item.document, item.requests[0], 0, ("", 0, 1))
            instance.resps = [made.text]
            ensemble.apply([instance])
            filtered = instance.filtered_resps[ensemble.name]
            suffix = "" if ensemble.name == "none" else f",{ensemble.name}"
            results = task.process_results(item.document, [filtered])
            metrics.update({f"{name}{suffix}": value for name, value in _numbers(task, results).items()})
            for name in BLEUS:
                counts = statistics(name, results.get(name))
                if counts is not None:
                    parts[f"{name}{suffix}"] = counts
                    metrics[f"{name}{suffix}"] = float(corpus_metric(name)(np.array([counts])))  # of this item alone
        return ItemScore(
            item.id,
            made.text,
            metrics,
            chance=item.chance,
            cluster=item.cluster,
            hit_limit=made.hit_limit,
            subset=item.subset or None,
            parts=parts,
        )

    def _prepare(self, count: int) -> list[Item]:
        ordered: list[tuple[str, str, Any]] = []
        self._tasks.clear()  # lm-eval's sampler of shots goes on where it was left; items begin anew
        with quiet():
            for subset in self.benchmark.subsets or ("",):
                documents = self._task(subset).eval_docs
                ordered += [(self._rank(subset, document), subset, document) for document in documents]
            # A document that is there twice would count twice: each has one rank, so that one of them is kept.
            distinct = {rank: (subset, document) for rank, subset, document in sorted(ordered, key=lambda one: one[0])}
            documents = list(distinct.values())
            items = [self._item(subset, document) for subset, document in documents[:count]]
            # Only now: a task that draws its shots draws them in the order in which it is asked.
            beginnings = {
                subset: self._beginning(subset, items, documents[count:])
                for subset in dict.fromkeys(item.subset for item in items)
            }
            items = [_with_shared(item, beginnings[item.subset]) for item in items]
        if not items:
            raise QllmError(f"{self.benchmark.name} has no items in {self.source.describe(self.benchmark)}")
        return items

    def _rank(self, subset: str, document: Mapping[str, Any]) -> str:
        return hashlib.sha256(f"{self.seed}:{subset}:{digest(document)}".encode()).hexdigest()

    def _beginning(self, subset: str, items: Sequence[Item], others: Sequence[tuple[str, dict[str, Any]]]) -> str:
        """What the contexts of a subset's first documents begin with: the shots, where all have the same.

        It is cut after a line or a word, so that it does not hang on letters in which they happen to agree. As many
        ``others`` are asked as it needs, so that it does not depend on how many items are measured.
        """
        first = [item for item in items if item.subset == subset][:_PROBED]
        more = [document for one, document in others if one == subset][: _PROBED - len(first)]
        first += [self._item(subset, document) for document in more]
        contexts = [request[0] for item in first for request in item.requests if len(request) == 2]
        common = commonprefix(contexts) if len(first) > 1 else ""  # noqa: RUF071 - of characters, as wanted
        return common[: max(common.rfind("\n"), common.rfind(" "), -1) + 1]

    def _item(self, subset: str, document: dict[str, Any]) -> Item:
        try:
            return self._asked(subset, document)
        except Exception as error:  # templates and functions fail in their own ways on a document that they do not fit
            raise QllmError(
                f"{self.benchmark.name}: lm-eval cannot ask a document of {self.source.describe(self.benchmark)} "
                f"({type(error).__name__}: {_line(error)}): {str(document)[:120]}"
            ) from error

    def _asked(self, subset: str, document: dict[str, Any]) -> Item:
        task = self._task(subset)
        target = task.doc_to_target(document)  # one that is none of the choices fails here, before it is measured
        context = task.fewshot_context(document, task.config.num_fewshot or 0)
        made = task.construct_requests(document, context, metadata=(task.config.task, 0, 1))
        instances = made if isinstance(made, list) else [made]
        requests = tuple(tuple(instance.args) for instance in instances)
        expected = chance(task, document, len(instances), self.benchmark.metric)
        identity = digest([document, requests])
        kind = str(task.OUTPUT_TYPE)
        shown = _shown_target(kind, right_choice(task, document) if kind == "multiple_choice" else target)
        cluster = self._cluster(subset, document)
        return Item(identity, kind, dict(document), requests, expected, subset, target=shown, cluster=cluster)

    def _cluster(self, subset: str, document: Mapping[str, Any]) -> str | None:
        """The cluster that a document's own fields name; one of a subset is none of another's."""
        fields = [field for field in self.benchmark.cluster if field != SUBSET]
        lacking = [field for field in fields if field not in document]
        if lacking:
            raise QllmError(f"has no field {lacking[0]!r}, which names its cluster; fields: {', '.join(document)}")
        named = [str(document[field]) for field in fields if document[field] not in (None, "")]
        if not named and SUBSET not in self.benchmark.cluster:
            return None
        return CLUSTER.join([*([subset] if subset else []), *named]) or None

    def _task(self, subset: str) -> Any:
        if subset not in self._tasks:
            self._tasks[subset] = self._build(subset)
        return self._tasks[subset]

    def _build(self, subset: str) -> Any:
        from lm_eval.api.task import ConfigurableTask
        from lm_eval.tasks._yaml_loader import load_yaml

        file = _task_file(self.benchmark.task.format(subset=subset))
        if not file.is_file():
            raise QllmError(f"{self.benchmark.name}: no task file at {file}; expected one of lm-eval's, or a full path")
        prepare(self.benchmark.needs, self.benchmark.name, self.source.cache)
        config = load_yaml(file)
        if self.benchmark.shots is not None:
            config["num_fewshot"] = self.benchmark.shots
        for name in ("tag", "group", "task_alias"):
            config.pop(name, None)
        splits = self.source.splits(self.benchmark, subset)
        if splits is not None:
            config["custom_dataset"] = lambda **_: splits
            for split in ("training_split", "validation_split", "test_split", "fewshot_split"):
                if config.get(split) not in splits:
                    config[split] = None
            if config["validation_split"] is None and config["test_split"] is None:
                raise QllmError(
                    f"{self.source.describe(self.benchmark)} has the splits {', '.join(splits)} for "
                    f"{self.benchmark.name}, none of which the task evaluates on"
                )
            if any(len(data) == 0 for data in splits.values()):
                raise QllmError(f"{self.benchmark.name} has no items in {self.source.describe(self.benchmark)}")
        try:
            task = ConfigurableTask(config=config)
        except QllmError:
            raise
        except Exception as error:  # a document without a field fails in jinja, the hub in its own ways
            raise QllmError(
                f"lm-eval cannot prepare {self.benchmark.name} from {self.source.describe(self.benchmark)} "
                f"({type(error).__name__}: {_line(error)})"
            ) from error
        task.set_fewshot_seed(seed=1234)  # lm-eval's own default: the shots are those of its published scores
        return task


def _with_shared(item: Item, beginning: str) -> Item:
    begins = all(request[0].startswith(beginning) for request in item.requests)
    return replace(item, shared=len(beginning) if begins else 0)


def _shown_target(kind: str, target: Any) -> int | str | None:
    """What is right, as the report shows it."""
    if target is None or kind == "loglikelihood_rolling":
        return None
    if kind == "multiple_choice":
        return int(target)
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False, default=str)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _own_words(task: str) -> str:
    """What of a task no version of lm-eval tells: our own file, or a user's with all that it may name beside it."""
    file = _task_file(task)
    if task.startswith("qllm:"):
        if "/" not in task:
            return "".join(one.read_text() for one in _with_includes(file))
    elif not Path(task).is_absolute():
        return ""
    beside = sorted(one for one in file.parent.glob("*") if one.suffix in (".yaml", ".py") or one == file)
    return digest([[one.name, one.read_text()] for one in beside])


def _with_includes(file: Path) -> list[Path]:
    """A task file of ours, what it includes, and the modules of its functions."""
    text = file.read_text()
    named = re.findall(r"^include: (\S+)", text, re.MULTILINE)
    modules = [f"{name}.py" for name in re.findall(r"!function (\w+)\.", text)]
    return [file, *(file.parent / name for name in dict.fromkeys([*named, *modules]))]


def _task_file(task: str) -> Path:
    """A task's file: of lm-eval's (relative to its ``tasks``), of ours (``qllm:``), or a user's (a full path)."""
    if task.startswith("qllm:"):
        return Path(__file__).parent / "tasks" / task.removeprefix("qllm:")
    spec = importlib.util.find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks" / task


def _score_text(item: Item, scored: Scored) -> ItemScore:
    if not isfinite(scored.loglikelihood):
        raise QllmError(f"the model gives a log-likelihood of {scored.loglikelihood} on item {item.id}; it is broken")
    metrics = {"perplexity": scored.loglikelihood}
    return ItemScore(
        item.id,
        None,
        metrics,
        [scored.loglikelihood],
        [scored.tokens],
        cluster=item.cluster,
        subset=item.subset or None,
    )


def _numbers(task: Any, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that have a score for each item, and of which more is better: a loss is a smaller score."""
    more_is_better = task.higher_is_better()
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and more_is_better.get(name) is not False
    }
