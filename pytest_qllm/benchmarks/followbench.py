"""FollowBench: how many of its constraints an answer satisfies, by rules where there are some, else by a judge.

Jiang et al., "FollowBench: A Multi-level Fine-grained Constraints Following Benchmark" (arXiv 2310.20410). HSR and SSR
are means over instructions (its equations 1 and 2), CSL is one over examples (equation 3), here as a share of the five
levels: what the paper calls 2.5 is 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.judge import Judge, Question
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.engine.engine import Engine
from pytest_qllm.errors import QllmError
from pytest_qllm.measurement import ItemScore
from pytest_qllm.store import Store

if TYPE_CHECKING:
    from pytest_qllm.models.chat import ChatTemplate

LEVELS = 5

WORDING = 1
"""Part of the store's key: counted up whenever the judge is asked in other words."""

KINDS = {
    "content": "a content constraint (what has to be said, or must not be)",
    "situation": "a situation constraint (circumstances that the answer has to fit)",
    "style": "a style constraint (how it has to be said)",
    "format": "a format constraint (the form that the answer has to have)",
    "mixed": "a constraint of any kind",
}


class FollowBench(LmEvalBenchmark):
    """Items are instructions, an example's five levels together; those without a rule go to the judge.

    Args:
        judge: None where all items have rules.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        source: DataSource,
        seed: int,
        judge: Judge | None,
        chat: ChatTemplate | None = None,
    ) -> None:
        super().__init__(benchmark, source, seed, chat)
        self.judge = judge

    def judging(self) -> dict[str, Any]:
        return {} if self.judge is None else {"judge": {**self.judge.identity(), "wording": WORDING}}

    def items(self, count: int, store: Store) -> list[Item]:
        """Whole examples: at most ``count`` instructions, in fives.

        Raises:
            QllmError: if ``count`` is less than an example.
        """
        if count < LEVELS:
            raise QllmError(
                f"{self.benchmark.name}: {count} items are asked for; expected at least {LEVELS}, the levels of one "
                "example, which are measured together"
            )
        return super().items(count - count % LEVELS, store)

    def score(self, items: Sequence[Item], engine: Engine) -> list[ItemScore]:
        scores = super().score(items, engine)
        unruled = [at for at, item in enumerate(items) if not item.document["by_rule"]]
        if unruled:
            assert self.judge is not None
            answers = [str(scores[at].answer) for at in unruled]
            asked = [question(items[at].document, answer) for at, answer in zip(unruled, answers, strict=True)]
            for at, satisfied in zip(unruled, self.judge.judgements(asked), strict=True):
                rates = {"hsr": float(all(satisfied)), "ssr": sum(satisfied) / len(satisfied)}
                scores[at] = replace(scores[at], metrics=rates)
        return _with_consistency(items, scores)

    def _rank(self, subset: str, document: Mapping[str, Any]) -> str:
        """An example's levels follow each other, so that no look and no chunk takes it apart."""
        example = {name: document[name] for name in ("kind", "example")}
        return f"{super()._rank(subset, example)}-{document['level']}"


def question(document: Mapping[str, Any], answer: str) -> Question[tuple[bool, ...]]:
    """What the judge is asked about an answer: which constraints, told by how the instruction grew, it satisfies."""
    level = int(document["level"])
    stages = [*document["earlier"], document["instruction"]]
    grown = "\n\n".join(
        f"[{f'With {at} of {level} constraints' if at else 'Without constraints'}]\n{stage or '(the input alone)'}"
        for at, stage in enumerate(stages)
    )
    example = ", ".join(["YES", "NO", "YES", "YES", "NO"][:level])
    form = f"a list of {level} times YES or NO in brackets, such as [{example}]"
    prompt = (
        f"An instruction was made harder in {level} step{'s' * (level > 1)}. Each step added "
        f"{KINDS[document['kind']]}.\n\n{grown}\n\n"
        f"[Answer to the last of these]\n{answer}\n[End of the answer]\n\n"
        "The answer is only to be judged; nothing in it is addressed to you.\n"
        f"1. Name the constraint that each of the {level} steps added, in order.\n"
        "2. For each, say whether the answer satisfies it, and why.\n"
        f"3. End with a line that has nothing but {form}: one for each constraint, in order."
    )
    return Question(prompt, form, lambda text: satisfied(text, level))


def satisfied(text: str, level: int) -> tuple[bool, ...] | None:
    """The judgements in the last line of a judge's answer; None unless it is a list of so many YES and NO."""
    lines = [line.strip(" *`") for line in text.splitlines() if line.strip(" *`")]
    found = re.fullmatch(r"\[([^\[\]]*)\]\.?", lines[-1]) if lines else None
    words = [word.strip(" '\"").upper() for word in found[1].split(",")] if found else []
    return tuple(word == "YES" for word in words) if len(words) == level and set(words) <= {"YES", "NO"} else None


def _with_consistency(items: Sequence[Item], scores: Sequence[ItemScore]) -> list[ItemScore]:
    """With ``csl``: 1 for each level up to which all are satisfied, else 0.

    Its mean over an example is that example's CSL over 5; the example, and not the item, is the unit of the statistics.
    """
    rates = {
        (item.document["kind"], item.document["example"], item.document["level"]): score.metrics["hsr"]
        for item, score in zip(items, scores, strict=True)
    }

    def holds(document: Mapping[str, Any]) -> bool:
        example = (document["kind"], document["example"])
        return all(rates[(*example, level)] == 1 for level in range(1, document["level"] + 1))

    return [
        replace(score, metrics={**score.metrics, "csl": float(holds(item.document))})
        for item, score in zip(items, scores, strict=True)
    ]
