"""Tokens of items without a tokenizer; with one they are compared with the engine's in test_option_plan.py."""

from __future__ import annotations

from pytest_qllm.benchmarks.lm_eval import Item
from pytest_qllm.workload import Workload


def item(name: str, output_type: str, *requests: tuple[object, ...], shared: int = 0) -> Item:
    return Item(name, output_type, {}, requests, 0.25, "", shared)


def tokens(*items: Item) -> int:
    return Workload(None, 0).tokens(items)


def test_the_context_of_an_item_counts_once():
    assert tokens(item("a", "multiple_choice", ("c" * 40, "xxxx"), ("c" * 40, "yyyy"))) == 10 + 1 + 1


def test_a_single_continuation():
    assert tokens(item("a", "loglikelihood", ("c" * 40, "xxxx"))) == 10 + 1


def test_what_items_share_counts_once_for_all():
    context = "s" * 400 + "c" * 40
    one, other = (item(name, "loglikelihood", (context, "xxxx"), shared=400) for name in "ab")
    assert tokens(one) == 100 + 11
    assert tokens(one, other) == 100 + 2 * 11


def test_a_generation_counts_with_its_limit():
    assert tokens(item("a", "generate_until", ("c" * 40, {"max_gen_toks": 64}))) == 10 + 64


def test_a_text():
    assert tokens(item("a", "loglikelihood_rolling", ("c" * 41,))) == 11


def test_nothing():
    assert tokens() == 0
