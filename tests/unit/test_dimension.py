"""A dimension's items: every beginning of them is the same mixture of benchmarks, and no item is asked twice."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_qllm.benchmarks.benchmark import Benchmark
from pytest_qllm.benchmarks.lm_eval import Item
from pytest_qllm.dimension import Dimension, Pooled, members, pooled_kind
from pytest_qllm.errors import QllmError
from pytest_qllm.report.pool import Part, Pool
from pytest_qllm.verdict.kinds import Kind


def benchmark(name: str, dimension: str = "knowledge", metric: str = "acc") -> Benchmark:
    return Benchmark(name, dimension, "t.yaml", metric, 10, 10, None, "")


def pooled(counts: list[int]) -> tuple[Pooled, list[Item]]:
    parts = [SimpleNamespace(benchmark=benchmark(f"b{at}"), source=None, seed=0) for at in range(len(counts))]
    made = Pooled(Dimension.of("knowledge", [part.benchmark for part in parts], counts), parts)
    items = [[Item(f"i{at}", "multiple_choice", {}, (), 0.25, "") for at in range(count)] for count in counts]
    return made, made.keep(list(zip(parts, items, strict=True)))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.data())
def test_every_beginning_is_the_same_mixture(counts: list[int], data: st.DataObject) -> None:
    made, order = pooled(counts)
    assert len({item.id for item in order}) == len(order) == sum(counts)
    n = data.draw(st.integers(1, len(order)))
    used = made.first(order[:n])
    assert sum(map(len, used)) == n
    for own, count in zip(used, counts, strict=True):
        assert abs(len(own) - n * count / sum(counts)) <= max(1.0, len(counts) / 2)
        assert [item.id for item in own] == [f"i{at}" for at in range(len(own))]  # the first ones, none between missing


def test_members_are_the_accuracies_of_the_dimension() -> None:
    catalog = [benchmark("a"), benchmark("b"), benchmark("c", metric="rougeL"), benchmark("d", "language")]
    assert [one.name for one in members("knowledge", catalog, None)] == ["a", "b"]
    for name, named, says in (
        ("wisdom", None, "known dimensions: knowledge, language"),
        ("knowledge", ["c"], "c: not among the accuracies of the dimension 'knowledge', which has a, b"),
        ("language", None, "pooling needs 2"),
    ):
        with pytest.raises(QllmError, match=says):
            members(name, catalog, named)
    with pytest.raises(QllmError, match="has the name of a benchmark"):
        members("knowledge", [*catalog, benchmark("knowledge", "language")], None)


def test_a_dimension_of_texts_is_pooled_by_its_perplexities() -> None:
    catalog = [
        benchmark("words", "language"),
        benchmark("news", "language", "perplexity"),
        benchmark("tales", "language", "perplexity"),
    ]
    assert pooled_kind("language", catalog) is Kind.PERPLEXITY
    chosen = members("language", catalog, None)
    assert [one.name for one in chosen] == ["news", "tales"]
    assert Dimension.of("language", chosen, [4, 4]).metric == "perplexity"
    with pytest.raises(QllmError, match="words: not among the perplexities of the dimension 'language', which has n"):
        members("language", catalog, ["words"])
    # As many of each: answers before texts.
    assert pooled_kind("language", [*catalog, benchmark("more", "language")]) is Kind.ACCURACY


def test_a_pool_is_told_in_a_line() -> None:
    pool = Pool([Part("a", "acc", 60, 0.5, 0.45, -0.05, 4, 1), Part("b", "acc", 20, 0.5)], {"c": "no data"})
    assert Pool.from_json(pool.to_json()).line() == "items of a 60 (-5.0), b 20; left out: c (no data)"
    texts = Pool([Part("a", "perplexity", 8, 20.0, 21.0, 1.05), Part("b", "perplexity", 4, 10.0)])
    assert Pool.from_json(texts.to_json()).line() == "items of a 8 (x1.05), b 4"
