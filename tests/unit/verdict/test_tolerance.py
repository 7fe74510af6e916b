"""What may be lost at each width, and how a team overrides it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.tolerance import COST_DEFAULTS, DEFAULTS, Tolerance, Tolerances, check

BENCHMARKS = ("hellaswag", "arc_easy", "wikitext")


def from_tables(tables) -> Tolerances:
    return Tolerances.from_toml(tables, BENCHMARKS, "pyproject.toml")


def from_toml(text: str) -> Tolerances:
    return from_tables(tomllib.loads(text)["tool"]["qllm"]["tolerances"])


@pytest.mark.parametrize("kind", DEFAULTS)
def test_the_defaults_hold_where_nothing_is_said(kind):
    assert {bits: from_tables({}).of("hellaswag", kind, bits).value for bits in (8, 4, 3, 2)} == DEFAULTS[kind]


def test_the_defaults_are_those_of_the_documentation():
    page = (Path(__file__).parents[3] / "docs/explanation/tolerances.md").read_text()
    rows = re.findall(
        r"^\| (\d) \| (0\.\d+)[^|]*\| (1\.\d+) \|" + r" (0\.\d+) \|" * 6 + r" (1\.\d+) \|$", page, re.MULTILINE
    )
    assert len(rows) == len(DEFAULTS["accuracy"])
    for column, kind in enumerate(DEFAULTS, 1):
        assert {int(row[0]): float(row[column]) for row in rows} == DEFAULTS[kind]


@pytest.mark.parametrize("kind", DEFAULTS)
def test_fewer_bits_may_lose_more(kind):
    table = DEFAULTS[kind]
    assert [table[bits] for bits in sorted(table)] == sorted(table.values(), reverse=True)


def test_a_kind_is_overridden_width_by_width():
    tolerances = from_toml("[tool.qllm.tolerances.accuracy]\n8 = 0.02")
    assert tolerances.of("hellaswag", "accuracy", 8).value == 0.02
    assert tolerances.of("hellaswag", "accuracy", 4).value == 0.04
    assert tolerances.of("wikitext", "perplexity", 8).value == DEFAULTS["perplexity"][8]


def test_a_benchmark_s_own_table_goes_before_its_kind_s():
    tolerances = from_toml("[tool.qllm.tolerances.hellaswag]\n4 = 0.05\n8 = 0.01")
    assert tolerances.of("hellaswag", "accuracy", 8).value == 0.01
    assert tolerances.of("hellaswag", "accuracy", 4).value == 0.05
    assert tolerances.of("arc_easy", "accuracy", 4).value == 0.04


def test_a_benchmark_s_own_table_is_not_for_its_graded_score():
    tolerances = from_toml("[tool.qllm.tolerances.hellaswag]\n4 = 0.05\n[tool.qllm.tolerances.prob]\n4 = 0.02")
    assert tolerances.of("hellaswag", "prob", 4).value == 0.02
    assert tolerances.of("hellaswag", "prob", 8).value == DEFAULTS["prob"][8] < DEFAULTS["accuracy"][8]


def test_a_width_that_the_benchmark_s_table_does_not_reach_falls_back_to_its_kind():
    tolerances = from_toml("[tool.qllm.tolerances.hellaswag]\n4 = 0.05")
    assert tolerances.of("hellaswag", "accuracy", 8).value == 0.03


def test_overriding_does_not_change_the_defaults():
    from_toml("[tool.qllm.tolerances.accuracy]\n8 = 0.5")
    assert DEFAULTS["accuracy"][8] == 0.03


@pytest.mark.parametrize(("bits", "row"), [(7, 8), (6, 8), (5, 8), (4, 4), (3, 3), (2, 2), (1, 2)])
def test_a_width_between_two_rows_takes_the_stricter(bits, row):
    assert Tolerances(DEFAULTS).of("hellaswag", "accuracy", bits).value == DEFAULTS["accuracy"][row]


def test_a_width_above_every_row_takes_the_widest():
    assert Tolerances(DEFAULTS).of("hellaswag", "accuracy", 16).value == 0.03


def test_a_benchmark_s_row_does_not_reach_the_rows_of_its_kind_below():
    tolerances = from_toml("[tool.qllm.tolerances.hellaswag]\n8 = 0.02")
    assert [tolerances.of("hellaswag", "accuracy", bits).value for bits in (8, 5, 4, 2)] == [0.02, 0.02, 0.04, 0.08]


def test_a_benchmark_s_rows_are_merged_over_its_kind_s_overridden_ones():
    tolerances = from_toml("[tool.qllm.tolerances]\naccuracy = {8 = 0.01, 4 = 0.02}\nhellaswag = {4 = 0.05}")
    assert [tolerances.of("hellaswag", "accuracy", bits).value for bits in (8, 4, 3)] == [0.01, 0.05, 0.06]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.integers(1, 16).map(str), st.floats(0, 0.99)), st.integers(1, 16))
def test_any_table_gives_every_width_one_of_its_values(table, bits):
    tolerances = from_tables({"accuracy": table})
    assert tolerances.of("hellaswag", "accuracy", bits).value in {*table.values(), *DEFAULTS["accuracy"].values()}


@pytest.mark.parametrize("bits", ["four", "4bit", "4.0", "0", "-4", "32", ""])
def test_a_key_that_is_no_width_is_refused_with_what_would_do(bits):
    with pytest.raises(QllmError) as refused:
        from_tables({"accuracy": {bits: 0.05}})
    line = str(refused.value)
    assert line.startswith("pyproject.toml: tolerances.accuracy")
    assert repr(bits) in line
    assert "a width from 1 to 16 bits" in line
    assert "\n" not in line


@pytest.mark.parametrize("value", ["0.05", "5%", None, True, -0.01, 100, float("nan"), float("inf"), [0.05]])
def test_a_value_that_is_no_tolerance_is_refused_with_what_would_do(value):
    with pytest.raises(QllmError) as refused:
        from_tables({"hellaswag": {"4": value}})
    line = str(refused.value)
    assert line.startswith("pyproject.toml: hellaswag: the tolerance")
    assert repr(value) in line
    assert "0.03" in line
    assert "1.02" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("kind", "refused", "taken"),
    [("accuracy", [1, 5, -0.01], [0, 0.999]), ("perplexity", [0.08, 0.999], [1, 3.5])],
)
def test_a_kind_has_its_own_range(kind, refused, taken):
    for value in refused:
        with pytest.raises(QllmError, match="out of range"):
            from_tables({kind: {"4": value}})
    for value in taken:
        assert from_tables({kind: {"4": value}}).of("hellaswag", kind, 4).value == value


@pytest.mark.parametrize(("kind", "value"), [("accuracy", 1.05), ("perplexity", 0.05)])
def test_a_benchmark_s_row_for_the_other_kind_is_refused_when_it_is_used(kind, value):
    tolerances = from_tables({"hellaswag": {"4": value}})
    with pytest.raises(QllmError, match=rf"^hellaswag: the tolerance {value} is out of range"):
        tolerances.of("hellaswag", kind, 4)


@pytest.mark.parametrize("name", ["hellaswg", "Accuracy", "ppl", ""])
def test_a_name_that_is_neither_kind_nor_benchmark_is_refused_with_those_that_are(name):
    with pytest.raises(QllmError) as refused:
        from_tables({name: {"4": 0.05}})
    line = str(refused.value)
    assert line.startswith(f"pyproject.toml: tolerances for {name!r}, which is neither a kind nor a benchmark")
    assert (
        "accuracy, perplexity, prob, graded, judged, corpus, bias, pooled, pooled_perplexity, soft, mean, hellaswag"
        in line
    )


@pytest.mark.parametrize("table", [0.05, "0.05", [0.05], None])
def test_a_number_where_a_table_belongs_is_refused(table):
    with pytest.raises(QllmError, match=r"^pyproject\.toml: tolerances\.accuracy is .*expected a table such as"):
        from_tables({"accuracy": table})


def test_a_whole_number_is_a_value_too():
    assert check(0, "accuracy", "marker") == Tolerance(0.0)


def test_a_refused_marker_says_where_it_stands():
    with pytest.raises(QllmError, match=r"^test_x\[bnb-nf4\]: the tolerance 5 is out of range"):
        check(5, "accuracy", "test_x[bnb-nf4]")


class TestShare:
    """A tolerance as the share of the baseline's score that has to be kept."""

    @pytest.mark.parametrize(("written", "lost"), [("99%", 0.01), ("99 %", 0.01), ("97.5%", 0.025), ("100%", 0.0)])
    @pytest.mark.parametrize("kind", ["accuracy", "prob", "graded", "mean", "corpus", None])
    def test_a_share_may_be_kept_of_any_score(self, kind, written, lost):
        assert check(written, kind, "marker") == Tolerance(lost, relative=True)

    @pytest.mark.parametrize("written", ["1%", "49.9%", "101%", "-99%", "99", "%", "99%%", ""])
    def test_what_looks_like_a_loss_or_like_nothing_is_refused(self, written):
        with pytest.raises(QllmError, match="is out of range"):
            check(written, "accuracy", "marker")

    def test_a_perplexity_s_is_a_ratio_already(self):
        with pytest.raises(QllmError, match=r"'99%' is out of range: a perplexity's is a ratio already"):
            check("99%", "perplexity", "marker")

    def test_it_is_shown_as_it_was_written(self):
        tolerances = from_toml('[tool.qllm.tolerances]\nhellaswag = {4 = "98.5%"}')
        assert tolerances.of("hellaswag", "accuracy", 4).written == "98.5%"
        assert tolerances.of("hellaswag", "accuracy", 8).written == 0.03


class TestWithoutADefault:
    @pytest.mark.parametrize("kind", ["soft", "mean"])
    def test_nobody_but_the_user_knows_their_size(self, kind):
        with pytest.raises(QllmError, match=r"^xsum: there is no tolerance for a metric of the kind"):
            from_tables({}).of("xsum", kind, 4)

    def test_a_table_of_the_kind_or_of_the_benchmark_will_do(self):
        tolerances = from_tables({"graded": {"4": 0.05}, "hellaswag": {"4": 0.02}})
        assert tolerances.of("arc_easy", "graded", 4).value == 0.05
        assert tolerances.of("hellaswag", "graded", 4).value == 0.02
        assert tolerances.of("hellaswag", "graded", 4, own=False).value == 0.05


def test_nothing_is_kept_of_a_bias():
    with pytest.raises(QllmError, match="of a bias nothing is kept"):
        check("99%", "bias", "bbq")


class TestCosts:
    @pytest.mark.parametrize(("bits", "ratio"), [(8, 0.75), (6, 0.75), (4, 0.5), (2, 0.45), (16, None)])
    def test_a_width_takes_its_row_or_the_next_wider_one_s(self, bits, ratio):
        assert from_tables({}).of_cost("weight_memory", bits) == ratio

    def test_times_have_none_until_one_is_given(self):
        assert from_tables({}).of_cost("decode_time", 4) is None
        given = from_tables({"decode_time": {"4": "80%", "3": 1.5}})
        assert [given.of_cost("decode_time", bits) for bits in (8, 4, 3)] == [None, 1.25, 1.5]

    @pytest.mark.parametrize(
        ("name", "value"), [("weight_memory", "80%"), ("decode_time", "0%"), ("decode_time", 0), ("disk_size", True)]
    )
    def test_what_is_no_ratio_is_refused(self, name, value):
        with pytest.raises(QllmError, match=f"expected the largest ratio to the baseline's {name}"):
            from_tables({name: {"4": value}})

    def test_those_of_the_page_are_the_default(self):
        page = (
            (Path(__file__).parents[3] / "docs/explanation/tolerances.md")
            .read_text()
            .partition("## Time and memory")[2]
        )
        rows = re.findall(r"^\| (\d) \| ([\d.]+) \| ([\d.]+) \|$", page, re.M)
        for column, name in enumerate(COST_DEFAULTS, 1):
            assert {int(row[0]): float(row[column]) for row in rows} == COST_DEFAULTS[name]
