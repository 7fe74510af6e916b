"""What a test asks: how many items, and which benchmarks of a dimension."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.models.source import DEFAULT
from pytest_qllm.questions import Questions

CATALOG = BenchmarkCatalog()


def questions(model: str, suite: str = "quick", judge: str = "", max_items: int = 0) -> Questions:
    settings = SimpleNamespace(model=model, suite=suite, judge=judge, max_items=max_items)
    return Questions(SimpleNamespace(), settings, SimpleNamespace())


@pytest.mark.parametrize(
    ("model", "counts"),
    [(DEFAULT, (120, 160)), ("org/name", (500, 500)), ("/models/mine", (500, 500)), ("mine.gguf", (500, 500))],
)
def test_only_the_built_in_model_is_measured_on_the_quick_number_of_items(model, counts):
    asked = questions(model)
    assert tuple(asked._items(CATALOG.get(name)) for name in ("lambada", "sciq")) == counts


def test_the_paper_s_suite_measures_the_paper_s_benchmarks_in_full():
    asked = questions(DEFAULT, suite="paper")
    assert asked._items(CATALOG.get("gsm8k_zeroshot")) == 1_319
    with pytest.raises(UnavailableError, match="arc_easy is not of the paper's: measured with --qllm-suite=quick"):
        asked._items(CATALOG.get("arc_easy"))
    parts = [CATALOG.get(name) for name in ("mmlu", "gsm8k", "gsm8k_zeroshot")]
    assert asked._counts("mine", parts, None, named=False) == {"mmlu": 14_042, "gsm8k_zeroshot": 1_319}  # asked once


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "12"])
def test_what_is_no_number_of_items_is_refused(count):
    with pytest.raises(QllmError, match="expected a whole number from 1"):
        questions(DEFAULT)._counted(count)


def test_the_session_s_limit_of_items_holds():
    assert questions(DEFAULT, max_items=10)._counted(12) == 10


def test_a_dimension_has_the_benchmarks_that_the_session_measures():
    parts = [CATALOG.get(name) for name in ("arc_easy", "ceval", "sciq", "followbench")]
    asked = questions(DEFAULT)
    assert asked._counts("mine", parts, None, named=False) == {"arc_easy": 570, "sciq": 160}
    assert asked._counts("mine", parts, 20, named=False) == {"arc_easy": 20, "ceval": 20, "sciq": 20}


def test_a_benchmark_that_was_named_is_not_left_out_in_silence():
    parts = [CATALOG.get(name) for name in ("arc_easy", "ceval", "sciq")]
    with pytest.raises(UnavailableError, match="ceval is left out with the built-in model"):
        questions(DEFAULT)._counts("mine", parts, None, named=True)


def test_a_dimension_of_which_one_benchmark_is_left_is_not_judged():
    parts = [CATALOG.get(name) for name in ("arc_easy", "ceval")]
    with pytest.raises(UnavailableError, match="pooling mine needs 2 of its benchmarks: ceval is left out"):
        questions(DEFAULT)._counts("mine", parts, None, named=False)
