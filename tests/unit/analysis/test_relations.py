"""Perplexity against benchmarks: the figures of arXiv 2402.16775 come back from its own tables."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from pytest_qllm.analysis.published import read
from pytest_qllm.analysis.relations import Relation, mean_size, relations
from pytest_qllm.analysis.sheet import Cell, Column, Row, Sheet
from pytest_qllm.verdict.kinds import Kind

_CHECKOUT = Path(__file__).parents[3]
_PLACES = [Path(os.environ.get("QLLM_SHARED_DATA", "/nowhere")), _CHECKOUT.parent / "shared/data"]
_PAPER = next((place / "paper" for place in _PLACES if (place / "paper/tables.csv").is_file()), None)

NOT_FROM_ROUNDED = ("xsum_rouge2", "xsum_rougeL")
"""Rows of the paper's Table 3 that its tables, which have two digits of them, do not give back."""


@pytest.fixture(scope="module")
def found() -> dict[str, Relation]:
    if _PAPER is None:
        pytest.skip("the paper's tables are not here (QLLM_SHARED_DATA names the directory that has them)")
    return {one.benchmark: one for one in relations(read(_PAPER / "tables.csv")) if one.over == "4 and 3 bits"}


@pytest.mark.parametrize(
    ("benchmark", "value"), [("mmlu", -0.886), ("ceval", -0.931), ("gsm8k", -0.921), ("bbq_bias_ambig", -0.763)]
)
def test_the_paper_s_figures_come_back(found: dict[str, Relation], benchmark: str, value: float) -> None:
    assert found[benchmark].n == 12
    assert found[benchmark].pearson is not None
    assert found[benchmark].pearson.value == pytest.approx(value, abs=0.0005)


def test_its_whole_table_comes_back_but_for_what_was_rounded_away(found: dict[str, Relation]) -> None:
    assert _PAPER is not None
    with (_PAPER / "table3_pearson.csv").open() as file:
        published = {line["metric"]: float(line["pearson"]) for line in csv.DictReader(file)}
    assert published.keys() == found.keys()
    assert np.mean(np.abs(list(published.values()))) == pytest.approx(0.79, abs=0.005)
    kept = [name for name in published if name not in NOT_FROM_ROUNDED]
    for name in kept:
        one = found[name].pearson
        assert one is not None
        assert one.value == pytest.approx(published[name], abs=0.05), name
        assert one.low < published[name] < one.high
    size = mean_size([found[name] for name in kept])
    assert size == pytest.approx(np.mean([abs(published[name]) for name in kept]), abs=0.01)


def test_within_models_some_of_it_is_gone(found: dict[str, Relation]) -> None:
    """A bigger model is better and has the lower perplexity: SNLI's coefficient is of that, and of no quantization."""
    mmlu, snli = found["mmlu"].within, found["snli"].within
    assert mmlu is not None
    assert snli is not None
    assert mmlu.high < -0.6
    assert snli.low < 0 < snli.high


def sheet(perplexity: list[float], scores: list[float], models: str) -> Sheet:
    rows = tuple(Row(model, f"r{at}", "rtn", 4) for at, model in enumerate(models))
    columns = (Column("acc", kind=Kind.ACCURACY), Column("ppl", kind=Kind.PERPLEXITY))
    cells = {(at, 0): Cell(score) for at, score in enumerate(scores)}
    return Sheet(rows, columns, cells | {(at, 1): Cell(value) for at, value in enumerate(perplexity)}, "made")


def test_few_rows_have_a_reason_and_no_coefficient() -> None:
    one, _ = relations(sheet([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], "aaa"))
    assert (one.n, one.pearson, one.pearson_p) == (3, None, None)
    assert one.reason == "3 regimes; an interval needs 4"


def test_the_logarithm_moves_pearson_s_and_no_rank() -> None:
    made = sheet([10.0, 11.0, 14.0, 40.0, 90000.0], [0.6, 0.59, 0.5, 0.4, 0.25], "aaaaa")
    plain, logarithm = relations(made)[0], relations(made, logarithm=True)[0]
    assert plain.pearson
    assert logarithm.pearson
    assert logarithm.pearson.value < plain.pearson.value
    assert logarithm.spearman == plain.spearman
    assert plain.spearman_p == pytest.approx(2 / 120)


def test_the_same_sheet_has_the_same_figures() -> None:
    rng = np.random.default_rng(3)
    made = sheet(rng.normal(10, 1, 12).tolist(), rng.normal(0.5, 0.1, 12).tolist(), "aaaabbbbcccc")
    assert relations(made) == relations(made)
