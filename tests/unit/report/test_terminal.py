"""What a session says at its end."""

from __future__ import annotations

import pytest

from pytest_qllm.report.record import Record
from pytest_qllm.report.terminal import summary
from pytest_qllm.report.trend import Change, Trend
from pytest_qllm.verdict.expected import Acceptance

REGIMES = ("fp16", "bnb-int8", "bnb-nf4", "gptq-4bit")
NAMES = ("arc_easy", "arc_challenge", "hellaswag", "piqa", "winogrande", "boolq", "sciq", "mmlu", "gsm8k", "lambada")


def record(regime: str, benchmark: str, outcome: str | None = None, effect: float | None = None, **fields) -> Record:
    bits = {"fp16": 16, "bnb-int8": 8}.get(regime, 4)
    common = {"model": "m", "method": "M", "dimension": "knowledge", "metric": "acc", "scale": "difference"}
    return Record(
        regime=regime, bits=bits, benchmark=benchmark, n=400, baseline=0.5, outcome=outcome, effect=effect,
        **{**common, **fields},
    )  # fmt: skip


def lines(records, errors=(), width=80, regimes=REGIMES, **more) -> list[str]:
    return ["".join(text for text, _ in spans) for spans in summary(records, errors, regimes, width, **more)]


def test_the_whole_of_a_small_session():
    records = [
        record("fp16", "arc_easy"),
        record("fp16", "piqa"),
        record("bnb-nf4", "arc_easy", "FAIL", -0.0825, ci=(-0.1, -0.06), tolerance=0.04, rerun="pytest that"),
        record("bnb-nf4", "piqa", "PASS", 0.005, ci=(-0.01, 0.02), tolerance=0.04),
    ]
    assert lines(records, where="reports/qllm.html", written="report: /there/reports/qllm.json") == [
        "",
        "regime   arc_easy   piqa",
        "fp16     50.0 %     50.0 %",
        "bnb-nf4  FAIL -8.2  PASS +0.5",
        "",
        "1 FAIL, 1 PASS",
        "effect: points of accuracy, or x the baseline's perplexity; a verdict is on its",
        "    bounds, not on it",
        "",
        "worst first (effect [its limits], what was allowed)",
        "FAIL  bnb-nf4  arc_easy  -8.2 [-10.0, -6.0], allowed -4.0",
        "",
        "report: /there/reports/qllm.json",
        "next: see reports/qllm.html; the worst again: pytest that",
    ]


def test_errors_are_told_even_where_nothing_was_measured():
    error = {"test": "t.py::test_piqa[bnb-nf4]", "regime": "bnb-nf4", "message": "the disk is full"}
    told, _, last = lines([], [error])[-3:]
    assert told == "ERROR t.py::test_piqa[bnb-nf4]: the disk is full"
    assert last == "next: mend what ended in an error and give the same command again: what was measured is kept"


def test_what_an_error_says_does_not_steer_the_terminal():
    error = {"test": "t.py::test_piqa[bnb-nf4]", "regime": "bnb-nf4", "message": "\x1b[2Jgone\rover\x07"}
    (told,) = [text for text in lines([], [error]) if text.startswith("ERROR")]
    assert told.endswith(r"\x1b[2Jgone\rover\x07")


def test_nothing_at_all_is_nothing_to_say():
    assert lines([]) == []


def test_baselines_alone_are_shown_without_counts():
    assert lines([record("fp16", "piqa")]) == ["", "regime  piqa", "fp16    50.0 %"]


def test_verdicts_are_counted_the_worst_first():
    outcomes = ("PASS", "NO_SIGNAL", "INCONCLUSIVE", "FAIL", "FAIL")
    records = [record("bnb-nf4", name, outcome, 0.0) for name, outcome in zip(NAMES, outcomes, strict=False)]
    assert "2 FAIL, 1 INCONCLUSIVE, 1 PASS, 1 NO_SIGNAL" in lines(records)


def test_the_worst_is_the_loss_that_is_the_most_of_what_was_allowed_whatever_its_unit():
    common = {"ci": (0.5, 2.0), "metric": "m"}
    records = [
        record("bnb-int8", "mmlu", "FAIL", -0.06, tolerance=0.03, **common),
        record("bnb-nf4", "piqa", "INCONCLUSIVE", -0.9, tolerance=0.04, **common),
        record("bnb-nf4", "story", "FAIL", 1.331, tolerance=1.1, scale="ratio", **common),
        record("gptq-4bit", "mmlu", "FAIL", -0.10, tolerance=0.04, **common),
        record("bnb-nf4", "sciq", "PASS", -0.01, tolerance=0.04, **common),
    ]
    text = lines(records)
    start = text.index("worst first (effect [its limits], what was allowed)")
    assert [line.split()[1:3] for line in text[start + 1 : start + 5]] == [
        ["bnb-nf4", "story"],
        ["gptq-4bit", "mmlu"],
        ["bnb-int8", "mmlu"],
        ["bnb-nf4", "piqa"],
    ]


def test_a_loss_against_nothing_allowed_comes_before_all_others():
    records = [
        record("bnb-int8", "mmlu", "FAIL", -0.01, tolerance=0.0, ci=(-0.02, -0.005)),
        record("bnb-nf4", "mmlu", "FAIL", -0.9, tolerance=0.04, ci=(-0.95, -0.8)),
    ]
    assert [line.split()[1] for line in lines(records) if line.startswith("FAIL ")] == ["bnb-int8", "bnb-nf4"]


def test_long_lists_are_cut_and_say_where_the_rest_is():
    regimes = tuple(f"r{at:02}" for at in range(12))
    figures = {"kl_percentiles": {"99": 1.0}, "same_top": 0.5, "delta_p_mean": 0.0, "delta_p_rms": 0.1}
    records = [
        record(
            regime, "piqa", "FAIL", -0.1 - at / 100, tolerance=0.04, ci=(-0.9, -0.08),
            fidelity={"kl_mean": float(at), **figures},
        )
        for at, regime in enumerate(regimes)
    ]  # fmt: skip
    errors = [{"test": f"t.py::test_piqa[{name}]", "regime": name, "message": "lost"} for name in regimes]
    text = lines(records, errors, regimes=regimes, where="there")
    assert [line.split()[1] for line in text if line.startswith("FAIL ")] == list(regimes[:1:-1])
    assert [line.split()[2] for line in text if line.startswith("fidelity")] == list(regimes[:5:-1])
    assert len([line for line in text if line.startswith("ERROR")]) == 10
    assert [line for line in text if line.startswith("...")] == [
        "... and 2 more in there", "... and 6 more in there", "... and 2 more in there",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_of_a_large_session_is_wider_than_the_terminal_but_its_command(width):
    regimes = ("fp16", *(f"gptq-{bits}bit-g{group}" for bits in range(2, 17) for group in (64, 128)))[:30]
    names = [*NAMES, *(f"{name}_{more}" for name in NAMES for more in ("german", "hard"))][:25]
    records = [
        record(regime, name) if regime == "fp16" else record(
            regime, name, ("PASS", "FAIL", "INCONCLUSIVE")[at % 3], -0.1234, tolerance=0.04, ci=(-0.2, -0.05),
            p_pass=0.5, p_fail=0.5, looks=1, planned=400,
        )
        for regime in regimes
        for at, name in enumerate(names)
    ]  # fmt: skip
    text = lines(records, width=width, regimes=regimes, where="reports/qllm.html")
    assert max(map(len, text)) <= width
    assert len(text) < (90 if width >= 80 else 240)
    assert text[-1] == "next: see reports/qllm.html"


def test_what_changed_since_a_release_is_not_what_was_expected_of_the_baseline():
    change = Change(400, 0.4, 0.5, 0.1, (0.05, 0.15), "exact")
    since = Trend("old.json", "2026-01-01T00:00:00", "m", verdict="PASS", regime=change)
    known = Acceptance("for tests only", 0.4, True, "xfail", True, 400, (-0.2, -0.1))
    shown = lines([record("bnb-nf4", "piqa", "FAIL", -0.15, expected=known, against=since.to_json())])
    assert [line for line in shown if line.startswith("bnb-nf4 ")] == ["bnb-nf4  xfail -15.0", "bnb-nf4  PASS +10.0"]
