"""Items and scores by lm-eval's own task definitions: prompts, targets, filters and metrics are the task's."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks import task_file
from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.chance import chance
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.graded import right_choice
from pytest_qllm.benchmarks.item import Item
from pytest_qllm.benchmarks.needs import prepare
from pytest_qllm.benchmarks.own_score import rescored
from pytest_qllm.benchmarks.questions import documents_of
from pytest_qllm.benchmarks.scoring import score_choices, score_generated, score_text
from pytest_qllm.engine.engine import Engine
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.measurement import ItemScore
from pytest_qllm.quiet import quiet
from pytest_qllm.store import Store, digest

if TYPE_CHECKING:
    from pytest_qllm.models.chat import ChatTemplate

__all__ = ["Item", "LmEvalBenchmark"]

_ITEM_FORMAT = 6  # of the items in the store
SUBSET = "{subset}"
CLUSTER = " / "
"""Between the parts of a cluster's name."""
_PROBED = 8  # documents whose contexts tell what all contexts of a subset begin with


class LmEvalBenchmark:
    """A benchmark with its data: makes items, and scores an engine's answers to them.

    ``chat`` is the template in which its questions are put; None: as plain text.
    """

    def __init__(self, benchmark: Benchmark, source: DataSource, seed: int, chat: ChatTemplate | None = None) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise UnavailableError("benchmarks need lm-eval: pip install 'pytest-qllm[model]'")
        self.benchmark = benchmark
        self.source = source
        self.seed = seed
        self.chat = chat
        self._tasks: dict[str, Any] = {}
        self._made: dict[tuple[str, str], float] = {}

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

    def prepare(self) -> None:
        """Read the documents of every subset, which fetches them where lm-eval's task loads its own.

        Raises:
            QllmError: if they cannot be fetched or read.
        """
        with quiet():
            for subset in self.benchmark.subsets or ("",):
                self._task(subset)

    def identity(self) -> dict[str, Any]:
        """What decides the prompts and the scores, but for the documents: part of the store's key."""
        chat = {} if self.chat is None else {"chat_template": self.chat.identity}
        return {**task_file.identity(self.benchmark), **chat}

    def judging(self) -> dict[str, Any]:
        """What decides the scores of given answers besides the task: nothing, where there is no judge."""
        return {}

    def score(self, items: Sequence[Item], engine: Engine) -> list[ItemScore]:
        """Ask the engine and score what it says, item by item."""
        kind = items[0].output_type
        with quiet():
            if kind in ("multiple_choice", "loglikelihood"):
                answers = engine.continuations([item.continuations() for item in items])
                return [
                    score_choices(self._task(item.subset), item, scored)
                    for item, scored in zip(items, answers, strict=True)
                ]
            if kind == "loglikelihood_rolling":
                rolled = engine.rolling([item.requests[0][0] for item in items])
                return [score_text(item, scored) for item, scored in zip(items, rolled, strict=True)]
            made = engine.generations([item.generation(self.seed) for item in items])
            return [score_generated(self._task(item.subset), item, one) for item, one in zip(items, made, strict=True)]

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
        kinds = sorted({item.output_type for item in items})
        if len(kinds) > 1:
            raise QllmError(
                f"{self.benchmark.name} has tasks of several kinds ({', '.join(kinds)}), whose scores are no common "
                "one: gate its parts one by one"
            )
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
                f"({type(error).__name__}: {task_file.first_line(error)}): {str(document)[:120]}"
            ) from error

    def _asked(self, subset: str, document: dict[str, Any]) -> Item:
        task = self._task(subset)
        target = task.doc_to_target(document)  # one that is none of the choices fails here, before it is measured
        chat = {"apply_chat_template": self.chat is not None, "chat_template": self.chat}
        context = task.fewshot_context(
            document,
            task.config.num_fewshot or 0,
            fewshot_as_multiturn=self.chat is not None,  # as lm-eval does it unless it is told otherwise
            gen_prefix=task.doc_to_prefix(document),
            **chat,
        )
        made = task.construct_requests(document, context, metadata=(task.config.task, 0, 1), **chat)
        instances = made if isinstance(made, list) else [made]
        requests = tuple(tuple(instance.args) for instance in instances)
        expected = chance(task, document, len(instances), self.benchmark.with_a_chance)
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

    def _splits(self, subset: str) -> Mapping[str, Any] | None:
        return documents_of(self.benchmark) or self.source.splits(self.benchmark, subset)

    def _build(self, subset: str) -> Any:
        prepare(self.benchmark.needs, self.benchmark.name, self.source.cache)
        source = self.source.describe(self.benchmark)
        splits = self._splits(subset)
        config = task_file.config_of(self.benchmark, subset, splits, source)
        task = task_file.built(self.benchmark, config, source)
        if splits is None:
            self.source.check_loaded(self.benchmark, subset, *task_file.loaded(task))
        return task

    def completed(self, items: Sequence[Item], scores: Sequence[ItemScore]) -> list[ItemScore]:
        """Scores with what the user's own function makes of the answers, which is made anew each time.

        Raises:
            QllmError: if it fails, or gives something else than it says.
        """
        scored = self.benchmark.scorer is not None
        return rescored(self.benchmark, items, scores, self._made) if scored else list(scores)


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
