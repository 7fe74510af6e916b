"""A function of the user's that says what an answer is worth."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.benchmark import Benchmark, is_known_metric
from pytest_qllm.benchmarks.item import Item
from pytest_qllm.errors import QllmError
from pytest_qllm.measurement import ItemScore

if TYPE_CHECKING:
    from collections.abc import MutableMapping

Scorer = Callable[[dict[str, Any], str], Any]
"""From an item's document and the model's answer to True or False, or to a share from 0 to 1."""

_KINDS = {"bool": "accuracy", "float": "graded"}


def scored_by(benchmark: Benchmark, function: Scorer) -> Benchmark:
    """The benchmark with that function's score as its metric: right or wrong (``-> bool``), or a grade (``-> float``).

    Raises:
        QllmError: unless it is a function of two arguments that says which of the two it gives.
    """
    name = getattr(function, "__name__", "")
    if not callable(function) or not name.isidentifier():
        raise QllmError(f"score is {function!r}; expected a function such as `def score(item, answer) -> bool`")
    annotation = inspect.get_annotations(function).get("return")
    kind = _KINDS.get(annotation if isinstance(annotation, str) else getattr(annotation, "__name__", ""))
    try:
        inspect.signature(function).bind({}, "")
    except TypeError:
        kind = None
    if kind is None:
        raise QllmError(
            f"score={name} does not say what it gives; expected `def {name}(item, answer) -> bool` (right or wrong) or "
            "`-> float` (from 0 to 1)"
        )
    metric = "score" if is_known_metric(name) else name
    return replace(benchmark, metric=metric, kinds={**benchmark.kinds, metric: kind}, scorer=function)


def rescored(
    benchmark: Benchmark,
    items: Sequence[Item],
    scores: Sequence[ItemScore],
    made: MutableMapping[tuple[str, str], float],
) -> list[ItemScore]:
    """The scores with what the function makes of each answer.

    They are made of the stored answers whenever they are needed: an edited function is in force at once, and no answer
    is generated for it again.

    Args:
        benchmark: whose scorer is asked.
        items: that were asked.
        scores: of them, with the answers.
        made: what it said of an item's answer in this process, filled in.

    Raises:
        QllmError: if the function fails, or gives something else than it says.
    """
    return [
        replace(score, metrics={**score.metrics, benchmark.metric: _scored(benchmark, item, score, made)})
        for item, score in zip(items, scores, strict=True)
    ]


def provenance(benchmark: Benchmark) -> Mapping[str, str]:
    """Name of the function and hash of its source, for people; nothing that is stored depends on it."""
    if benchmark.scorer is None:
        return {}
    try:
        source = inspect.getsource(benchmark.scorer)
    except (OSError, TypeError):
        source = ""
    return {"score": f"{benchmark.scorer.__name__} {hashlib.sha256(source.encode()).hexdigest()[:12]}"}


def _scored(benchmark: Benchmark, item: Item, score: ItemScore, made: MutableMapping[tuple[str, str], float]) -> float:
    assert benchmark.scorer is not None
    if item.output_type != "generate_until":
        raise QllmError(
            f"{benchmark.name}: a score function needs an answer in words, and its task is {item.output_type}"
        )
    answer = str(score.answer)
    if (item.id, answer) not in made:
        name = benchmark.scorer.__name__
        try:
            given = benchmark.scorer(dict(item.document), answer)
        except Exception as error:  # it is the user's own
            line = (str(error).splitlines() or [""])[0]
            raise QllmError(
                f"{benchmark.name}: {name} fails with {type(error).__name__} ({line}) on the answer {answer[:80]!r}"
            ) from error
        made[item.id, answer] = _number(given, str(benchmark.kinds[benchmark.metric]), f"{benchmark.name}: {name}")
    return made[item.id, answer]


def _number(given: Any, kind: str, what: str) -> float:
    is_number = isinstance(given, bool | int | float) or type(given).__module__ == "numpy"
    try:
        value = float(given) if is_number else -1.0
    except (TypeError, ValueError):
        value = -1.0
    fits = value in (0.0, 1.0) if kind == "accuracy" else 0.0 <= value <= 1.0
    if not fits:
        expected = "True or False, as it says" if kind == "accuracy" else "a number from 0 to 1, as it says"
        raise QllmError(f"{what} gives {given!r}; expected {expected}")
    return value
