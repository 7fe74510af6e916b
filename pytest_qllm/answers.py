"""What was asked and answered, in the words of the report: from items and measurements to texts."""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import TYPE_CHECKING

from pytest_qllm.measurement import ItemScore, Measurement
from pytest_qllm.report.texts import Answer, Asked, Texts

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.lm_eval import Item

_BY_LENGTH = "acc_norm"
"""lm-eval's accuracy of the choice that is likeliest by its length in characters."""


def texts_of(items: Sequence[Item], metric: str, baseline: Measurement, candidate: Measurement | None = None) -> Texts:
    """The items that were measured, and the answers on which the metric rests."""
    used = items[: len(baseline.items)]
    asked = [asked_of(item) for item in used]
    sides = [() if side is None else side.items for side in (baseline, candidate)]
    return Texts(asked, *([_answer(metric, item, one) for item, one in zip(used, side)] for side in sides))  # noqa: B905


def asked_of(item: Item) -> Asked:
    """An item as a reader sees it. Where each choice has a context of its own, the choices begin where those part."""
    first = item.requests[0]
    beginning, rest = first[0][: item.shared], first[0][item.shared :]
    if item.output_type not in ("multiple_choice", "loglikelihood"):
        return Asked(item.id, rest, beginning, (), item.target, item.subset)
    pairs = _pairs(item)
    common = commonprefix([context for context, _ in pairs])  # noqa: RUF071 - of characters, as wanted
    if any(context != common for context, _ in pairs):
        common = common[: max(common.rfind("\n"), common.rfind(" "), item.shared - 1) + 1]
    choices = [context[len(common) :] + text for context, text in pairs]
    return Asked(item.id, common[item.shared :], beginning, choices, item.target, item.subset)


def _answer(metric: str, item: Item, score: ItemScore) -> Answer:
    if item.output_type == "loglikelihood_rolling":
        return Answer(None)
    if item.output_type not in ("multiple_choice", "loglikelihood"):
        return Answer(score.answer, (), score.hit_limit)
    pairs = _pairs(item)
    likelihoods = score.loglikelihoods[: len(pairs)]
    if item.output_type == "loglikelihood":
        return Answer(score.answer, likelihoods)
    lengths = [max(len(text.lstrip()), 1) if metric == _BY_LENGTH else 1 for _, text in pairs]
    ranked = [likelihood / length for likelihood, length in zip(likelihoods, lengths, strict=True)]
    return Answer(max(range(len(ranked)), key=ranked.__getitem__), likelihoods)


def _pairs(item: Item) -> list[tuple[str, str]]:
    """Context and continuation of each choice; a task of mutual information then asks for each without its context."""
    pairs = [(request[0], request[1]) for request in item.requests]
    return [pair for pair in pairs if pair[0]] or pairs
