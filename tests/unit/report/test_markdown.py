"""qllm.md: the same verdicts as qllm.json, the most important first, under 64 KiB at any size of run."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from made import HOSTILE, sessions
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pytest_qllm.report import dimensions
from pytest_qllm.report.answer import severity
from pytest_qllm.report.gfm import clip
from pytest_qllm.report.json import document
from pytest_qllm.report.markdown import LIMIT, render
from pytest_qllm.report.reader import Report, report_of
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS, printable

LETTERS = {mark.letter for mark in MARKS.values()}

PARSER = MarkdownIt("commonmark").enable("table")

BASELINE = Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 400, 0.8)
PASS = replace(
    BASELINE,
    regime="mine",
    method="noise",
    bits=8,
    outcome="PASS",
    candidate=0.79,
    effect=-0.01,
    ci=(-0.02, 0.01),
    alphas=(0.05, 0.05),
    tolerance=0.03,
    broken=6,
    mended=2,
    rerun="pytest 't.py::test_piqa[mine]' --qllm-regimes=mine",
)
FAIL = replace(PASS, benchmark="boolq", outcome="FAIL", effect=-0.1, ci=(-0.12, -0.08))


def report(*records: Record, exitstatus: int = 0, errors: Any = (), kernels: Any = (), **about: Any) -> Report:
    provenance = {"time": "2026-01-02T03:04:05", "settings": {"seed": 0}, **about}
    content = document([one.to_json() for one in records], errors, provenance, kernels, exitstatus=exitstatus)
    return report_of(json.loads(json.dumps(content)), Path("reports/qllm.json"))


def tables(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, as a reader sees them."""
    found: list[list[list[str]]] = []
    inside = False
    for token in PARSER.parse(text):
        inside = token.type != "table_close" and (inside or token.type == "table_open")
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and inside:
            found[-1][-1].append(plain(token))
    return found


def plain(token: Token) -> str:
    return unescape("".join(child.content for child in token.children or [] if child.type != "html_inline"))


def shown(text: str) -> str:
    return clip(printable(" ".join(text.split())))


def test_the_answer_comes_first_and_passes_last() -> None:
    text = render(report(BASELINE, PASS, FAIL, replace(PASS, regime="good")))
    places = [
        text.index(words)
        for words in (
            "## Quantization of `m`: 1 of 2 regimes may ship",
            "1 FAIL, 2 PASS",
            "| `mine` | **no** | 1 test fails: `boolq` -10.0 |",
            "| `good` | yes | 1 test passes |",
            "### Failures",
            "FAIL: boolq on mine (noise, 8 bits) of m",
            "  effect      -10.0 points, between -12.0 and -8.0",
            "  rerun       pytest 't.py::test_piqa[mine]' --qllm-regimes=mine",
            "### Verdicts",
            "| `fp16` |  | 80.0 % |",
            "| `mine` | **FAIL** -10.0 | PASS -1.0 |",
            "<details><summary>2 PASS</summary>",
            "`2026-01-02T03:04:05, seed 0, error 5 %`",
        )
    ]
    assert places == sorted(places)
    assert "not shown here" not in text


def test_the_worst_failure_first() -> None:
    text = render(report(FAIL, replace(FAIL, benchmark="worst", effect=-0.4)))
    assert text.index("FAIL: worst on mine") < text.index("FAIL: boolq on mine")


def test_an_interrupted_session_says_so() -> None:
    assert "**The session was interrupted: not every test has run.**" in render(report(PASS, exitstatus=2))


def test_errors_stand_before_losses() -> None:
    error = {"test": "t.py::test_arc[mine]", "regime": "mine", "message": "no model at '/x'"}
    text = render(report(FAIL, errors=[error]))
    assert text.index("ERROR: t.py::test_arc[mine]\n  no model at '/x'") < text.index("FAIL: boolq")
    assert "1 FAIL, 1 without a verdict" in text


def test_an_undecided_test_says_what_decides_it() -> None:
    text = render(report(replace(FAIL, outcome="INCONCLUSIVE")))
    assert "| `mine` | **undecided** |" in text
    assert "more items decide it" in text


def test_two_metrics_of_a_benchmark_have_a_column_each() -> None:
    text = render(report(FAIL, replace(PASS, benchmark="boolq", metric="prob")))
    assert "| `knowledge` | `boolq` `acc` | `boolq` `prob` |" in text


def many(regimes: int, benchmarks: int, outcome: str) -> Report:
    one = FAIL if outcome == "FAIL" else PASS
    records = [
        replace(one, regime=f"regime-{at}", benchmark=f"benchmark_{on}", dimension=f"dimension {on % 7}")
        for at in range(regimes)
        for on in range(benchmarks)
    ]
    return report(*records)


@pytest.mark.parametrize("outcome", ["PASS", "FAIL"])
@pytest.mark.parametrize(("regimes", "benchmarks"), [(60, 100), (400, 2)])
def test_stays_under_64_kib_and_says_what_it_left_out(regimes: int, benchmarks: int, outcome: str) -> None:
    text = render(many(regimes, benchmarks, outcome))
    assert LIMIT // 8 < len(text.encode()) <= LIMIT < 64 * 1024
    last = text[text.index("**Cut to stay under 64 KiB; not shown here:") :]
    if outcome == "FAIL":
        kept = text.count("FAIL: benchmark_")
        assert kept > 10
        assert f"{regimes * benchmarks - kept} of {regimes * benchmarks} failures" in last
        assert f"_... and {regimes * benchmarks - kept:,} more failures, in `qllm.json`._" in text
    assert "`qllm.json` has all of it" in last


def test_60_regimes_on_100_benchmarks_have_their_matrix() -> None:
    text = render(many(60, 100, "FAIL"))
    assert "not shown here" in text
    assert "the matrix of verdicts" not in text
    letters = [cell for table in tables(text) for line in table[1:] for cell in line[1:] if cell in LETTERS]
    assert letters == ["F"] * 6000
    assert "W worse, F FAIL" in text


def test_a_small_run_is_whole() -> None:
    text = render(many(3, 8, "PASS"))
    assert "not shown here" not in text
    assert "**Cut" not in text


@given(sessions())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_verdicts_as_in_the_json(session: dict[str, Any]) -> None:
    found = report_of(json.loads(json.dumps(document(**session))), Path("qllm.json"))
    text = render(found)
    assert len(text.encode()) <= LIMIT
    assert "not shown here" not in text
    told = tables(text)[1 if len(found.regimes) > 1 else 0 :]
    worst: dict[tuple[str, str, str], Record] = {}
    for record in found.records:
        key = (record.regime, record.benchmark, record.metric)
        if key not in worst or severity(record) > severity(worst[key]):
            worst[key] = record
    told_dimensions = sorted({record.dimension for record in worst.values()}, key=dimensions.order)
    for dimension, table in zip(told_dimensions, told, strict=False):
        columns = sorted({(r.benchmark, r.metric) for r in worst.values() if r.dimension == dimension})
        assert table[0][0] == shown(dimension)
        assert len(table[0]) == 1 + len(columns)
        rows = [name for name in found.regimes if any((name, *column) in worst for column in columns)]
        assert [line[0] for line in table[1:]] == [shown(name) for name in rows]
        for name, line in zip(rows, table[1:], strict=True):
            for column, cell in zip(columns, line[1:], strict=True):
                record = worst.get((name, *column))
                assert_says(cell, record)


def assert_says(cell: str, record: Record | None) -> None:
    if record is None:
        assert cell == ""
    elif record.standing is None:
        assert cell == record.score(record.baseline)
    else:
        word = {"NO_SIGNAL": "no signal"}.get(record.standing, record.standing)
        assert cell.startswith(word)
        if record.effect is not None:
            assert record.change(record.effect) in cell
        assert ("(slid)" in cell) is record.has_slid


@given(sessions())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_of_a_hostile_report_is_markup(session: dict[str, Any]) -> None:
    found = report_of(json.loads(json.dumps(document(**session))), Path("qllm.json"))
    own = re.compile(r"</?(?:code|summary|details)>")
    for token in PARSER.parse(render(found)):
        inside = False
        for piece in token.children or [] if token.type == "inline" else [token]:
            assert piece.type not in ("link_open", "image", "blockquote_open")
            if piece.type in ("html_inline", "html_block"):
                tags = re.findall(r"<[^>]*>", piece.content)
                assert tags
                assert all(own.fullmatch(tag) for tag in tags), piece.content
                inside = piece.content == "<code>"
            if piece.type == "text":
                assert inside or not set("@<`|") & set(piece.content), "foreign words stand in code alone"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_words_everywhere(hostile: str) -> None:
    record = replace(FAIL, regime=hostile, benchmark=hostile, dimension=hostile, model=hostile, reason=hostile)
    error = {"test": hostile, "regime": hostile, "message": hostile}
    text = render(report(record, replace(record, outcome="NO_SIGNAL", effect=None, ci=None), errors=[error]))
    assert tables(text)[1][0] == [shown(hostile), shown(hostile)]
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$|<code>.*?</code>|`[^`\n]*`", "", text)
    for sign in ("@", "<script", "a|b", "http"):
        assert sign not in outside
