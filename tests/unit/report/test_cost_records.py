"""How costs read in every form of the report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_qllm.report import costs
from pytest_qllm.report.answer import answers
from pytest_qllm.report.html.expenses import costs as plot
from pytest_qllm.report.html.page import render as html
from pytest_qllm.report.html.signs import typeset
from pytest_qllm.report.json import write
from pytest_qllm.report.markdown import render as markdown
from pytest_qllm.report.reader import load_report
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import excess
from pytest_qllm.report.terminal import summary

SLOW = Record(
    model="m",
    regime="bnb-int8",
    method="LLM.int8()",
    bits=8,
    benchmark="decode_time",
    dimension="efficiency",
    metric="s/token",
    scale="ratio",
    n=16,
    baseline=0.02,
    candidate=0.05,
    effect=2.5,
    ci=(2.1, 2.9),
    alphas=(0.05, 0.05),
    interval="paired log ratio, Student's t",
    outcome="UNGATED",
    planned=16,
    provenance={"shape": "256x512", "batch": 1, "dtype": "bfloat16", "device": "cpu", "threads": 2, "others": 0.07},
)
SMALL = replace(
    SLOW,
    benchmark="weight_memory",
    metric="bytes",
    baseline=269e6,
    candidate=116e6,
    effect=0.43,
    ci=(0.43, 0.43),
    alphas=None,
    interval="counted",
    outcome="PASS",
    tolerance=0.5,
    n=1,
)


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("s/token", 0.02, "50 tokens/s"),
        ("s", 12.34, "12.3 s"),
        ("s", 0.0123, "12.3 ms"),
        ("bytes", 269e6, "269 MB"),
        ("bytes", 15.2e9, "15.2 GB"),
        ("bytes", 1500, "1.5 kB"),
        ("bytes", 12, "12 bytes"),
    ],
)
def test_figures_have_their_units(metric, value, text):
    assert costs.figure(metric, value) == text


@pytest.mark.parametrize(
    ("record", "ci", "way"),
    [
        (SLOW, (1.01, 3.0), "slower"),
        (SLOW, (0.99, 3.0), ""),
        (SLOW, (0.2, 0.99), "faster"),
        (SLOW, (None, 0.9), "faster"),
        (SLOW, (None, None), ""),
        (SMALL, (0.4, 0.4), "smaller"),
        (SMALL, (1.2, 1.2), "larger"),
    ],
)
def test_both_limits_say_which_way_it_goes(record, ci, way):
    assert costs.way(replace(record, ci=ci)) == way


def test_cells_say_it_at_a_glance():
    assert SLOW.cell() == "x2.5 slower"
    assert SMALL.cell() == "PASS x0.43 smaller"


def test_messages_have_figures_limits_and_conditions():
    assert SLOW.message("pytest x").splitlines() == [
        "UNGATED: decode_time on bnb-int8 (LLM.int8(), 8 bits) of m: slower than the baseline",
        "  baseline    50 tokens/s",
        "  candidate   20 tokens/s",
        "  effect      x2.5 the baseline's cost, between x2.1 and x2.9 (each bound one-sided, 95 %, 16 pairs of runs)",
        "  tolerance   none is set: measured, not gated",
        "  measured    256x512 tokens, batch 1, bfloat16 on cpu, 2 threads, other processes took 7 % of it",
        "  rerun       pytest x",
    ]
    failed = replace(SMALL, outcome="FAIL", tolerance=0.4)
    assert failed.message("pytest x").splitlines()[0].endswith("a cost of more than x0.4 the baseline's is proven")
    assert "(counted: no error of sampling)" in failed.message("pytest x")


def test_other_programs_are_named():
    record = replace(SLOW, provenance={"baseline_engine": "transformers", "candidate_engine": "llama.cpp"})
    assert "  candidate   20 tokens/s by llama.cpp" in record.message("")


def test_the_summary_has_a_table_and_names_what_is_slower():
    quality = replace(SLOW, benchmark="arc", dimension="knowledge", metric="acc", scale="difference", outcome="PASS",
                      baseline=0.5, candidate=0.5, effect=0.0, ci=(-0.01, 0.01), tolerance=0.03)  # fmt: skip
    records = [quality, SLOW, SMALL, replace(SLOW, regime="bnb-nf4", effect=4.0)]
    spans = list(summary(records, [], ["bnb-int8", "bnb-nf4"], 100))
    lines = ["".join(text for text, _ in line).rstrip() for line in spans]
    assert "regime    arc" in lines
    assert "regime    decode_time  weight_memory" in lines
    assert "slower than the baseline in decode_time: bnb-nf4 x4, bnb-int8 x2.5" in lines
    assert lines.index("regime    arc") < lines.index("regime    decode_time  weight_memory")
    yellow = [text for line in spans for text, markup in line if markup.get("yellow")]
    assert "x2.5 slower" in yellow


def test_the_page_and_the_markdown_say_what_is_slower(tmp_path):
    write(tmp_path / "qllm.json", [SLOW.to_json(), SMALL.to_json()], [], {"time": "2026-01-01", "settings": {}})
    report = load_report(tmp_path / "qllm.json")
    assert [(one.benchmark, one.outcome, *(one.ci or ())) for one in report.verdicts] == [
        ("decode_time", "UNGATED", 2.1, 2.9),
        ("weight_memory", "PASS", 0.43, 0.43),
    ]
    page = html(report)
    assert "Slower than the baseline in decode_time: bnb-int8 x2.5." in page
    assert page.count('id="efficiency"') == 1
    assert "Memory and perplexity" not in page
    text = markdown(report)
    assert "slower than the baseline in decode_time: bnb-int8 x2.5" in text
    assert "**x2.5 slower**" in text
    assert "PASS x0.43 smaller" in text


def test_a_regime_whose_costs_are_not_gated_is_undecided(tmp_path):
    write(tmp_path / "qllm.json", [SLOW.to_json()], [], {"time": "2026-01-01", "settings": {}})
    (answer,) = answers(load_report(tmp_path / "qllm.json"))
    assert (answer.ships, answer.why) == ("undecided", "no test has a tolerance")


def test_a_loss_beyond_a_gain_that_was_demanded_is_ranked():
    assert excess(replace(SMALL, tolerance=0.4)) > 1 > excess(SMALL)


def test_the_figure_shows_every_cost():
    found = plot([SLOW, SMALL])
    assert [row[2:] for row in found.rows] == [
        (typeset("x2.500"), f"{typeset('x2.100')} to {typeset('x2.900')}", "slower"),
        (typeset("x0.430"), f"{typeset('x0.430')} to {typeset('x0.430')}", "smaller"),
    ]
    assert plot([]) is None
