"""--qllm-report and what a session says at its end: qllm.json, the table, and the message of a failed test."""

from __future__ import annotations

import json
import shlex

import pytest

from conftest import Suite
from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.verdict.tolerance import DEFAULTS

FIELDS = {
    "model": str,
    "regime": str,
    "method": str,
    "bits": int,
    "benchmark": str,
    "dimension": str,
    "metric": str,
    "scale": str,
    "n": int,
    "baseline": float,
    "tolerance": float,
    "verdict": str,
    "flips": dict,
    "reason": str,
    "provenance": dict,
}


def strictly(text: str) -> dict[str, object]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return dict(json.loads(text, parse_constant=refuse))


def test_every_verdict_with_its_evidence(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run()
    strictly((suite.path / "reports/qllm.json").read_text())
    assert len(suite.report["verdicts"]) == 6
    for verdict in suite.report["verdicts"]:
        assert {name: type(verdict[name]) for name in FIELDS} == FIELDS
        assert set(verdict["flips"]) == {"broken", "mended"}
        assert verdict["verdict"] in ("PASS", "FAIL", "INCONCLUSIVE", "NO_SIGNAL")


def test_a_verdict_on_an_accuracy(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run()
    verdict = suite.verdicts["bnb-nf4", "lambada"]
    flips = verdict["flips"]
    assert (verdict["method"], verdict["bits"], verdict["metric"], verdict["dimension"]) == (
        "NF4",
        4,
        "acc",
        "language",
    )
    assert (verdict["verdict"], verdict["tolerance"], verdict["scale"]) == (
        "FAIL",
        DEFAULTS[BenchmarkCatalog().get("lambada").kind][4],
        "difference",
    )
    assert (verdict["n"], verdict["planned"]) == (40, 120)
    assert verdict["effect"] == pytest.approx((flips["mended"] - flips["broken"]) / verdict["n"])
    assert verdict["candidate"] == pytest.approx(verdict["baseline"] + verdict["effect"])
    low, high = verdict["ci"]
    assert low < verdict["effect"] < high < -verdict["tolerance"]


def test_a_verdict_on_a_perplexity(suite: Suite) -> None:
    suite.gates("story_perplexity")
    suite.run()
    verdict = suite.verdicts["bnb-nf4", "story_perplexity"]
    assert (verdict["verdict"], verdict["tolerance"], verdict["scale"]) == ("FAIL", DEFAULTS["perplexity"][4], "ratio")
    assert verdict["effect"] == pytest.approx(verdict["candidate"] / verdict["baseline"])
    assert verdict["flips"] == {"broken": None, "mended": None}
    low, high = verdict["ci"]
    assert verdict["tolerance"] < low < verdict["effect"] < high
    assert verdict["n"] <= verdict["planned"] == 12


def test_no_signal_says_why_and_claims_nothing(suite: Suite) -> None:
    suite.gates("arc_easy")
    suite.run("-rs").assert_outcomes(passed=1, skipped=2)
    for verdict in suite.report["verdicts"]:
        assert verdict["verdict"] == "NO_SIGNAL"
        assert "chance is 25.0%" in verdict["reason"]
        assert verdict["candidate"] is verdict["effect"] is verdict["ci"] is None


def test_baselines_have_scores_and_no_verdict(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run()
    (baseline,) = suite.report["baselines"]
    assert (baseline["benchmark"], baseline["baseline"], baseline["n"]) == ("lambada", 0.9, 120)
    assert "verdict" not in baseline


def test_provenance_says_how_to_do_it_again(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(seed=7)
    report = suite.report
    assert report["schema"] == "pytest-qllm/1"
    provenance = report["provenance"]
    assert {"time", "python", "versions", "hardware", "settings"} <= set(provenance)
    assert {"pytest-qllm", "torch", "transformers", "lm_eval", "bitsandbytes"} <= set(provenance["versions"])
    assert provenance["settings"]["seed"] == 7
    assert provenance["settings"]["regimes"] == ["bnb-int8", "bnb-nf4"]
    own = suite.verdicts["bnb-int8", "lambada"]["provenance"]
    assert {"weights", "tokenizer", "regime", "benchmark", "dtype", "device", "engine", "seed"} <= set(own)
    assert own["regime"]["bits"] == 8
    assert own["weights"] == report["baselines"][0]["provenance"]["weights"]


def test_an_error_is_listed_and_no_verdict(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(model="/no/such")
    assert suite.report["verdicts"] == suite.report["baselines"] == []
    assert [error["regime"] for error in suite.report["errors"]] == ["bnb-int8", "bnb-nf4", "fp16"]
    assert all("no model at '/no/such'" in error["message"] for error in suite.report["errors"])


def test_the_directory_is_made_and_relative_to_the_root(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run(report="out/of/this", max_items=40)
    assert (suite.path / "out/of/this/qllm.json").is_file()
    assert f"report: {suite.path}/out/of/this/qllm.json" in result.outlines


def test_a_file_in_the_way(suite: Suite) -> None:
    suite.gates("lambada")
    (suite.path / "reports").write_text("a file")
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["bnb-int8*PASS*", "no report: cannot write *qllm.json*choose another --qllm-report"])


def test_without_gates_there_is_no_report(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_something_else(): pass")
    result = suite.run()
    result.assert_outcomes(passed=1)
    assert not (suite.path / "reports").exists()
    result.stdout.no_fnmatch_line("*quantization*")


def test_the_table_has_regimes_as_rows_and_benchmarks_as_columns(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    result = suite.run()
    lines = [line.split() for line in result.outlines[result.outlines.index(heading(result.outlines)) :]]
    assert ["regime", "lambada", "story_perplexity"] in lines
    rows = {line[0]: line[1:] for line in lines if line}
    assert rows["fp16"][:2] == ["90.0", "%"]
    assert rows["bnb-int8"][:3] == ["PASS", "+0.0", "PASS"]
    assert rows["bnb-nf4"][0] == "FAIL"
    result.stdout.fnmatch_lines(["no signal: arc_easy (*", "2 FAIL, 2 PASS, 2 NO_SIGNAL"])


def test_the_worst_is_told_first_and_the_next_step_last(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    result = suite.run()
    section = result.outlines[result.outlines.index(heading(result.outlines)) + 1 :]
    section = section[: next(at for at, line in enumerate(section) if line.startswith("==="))]
    listed = section[section.index("worst first (effect [its limits], what was allowed)") + 1 :][:2]
    assert sorted(line.split()[:2] for line in listed) == [["FAIL", "bnb-nf4"]] * 2
    report, page, last = section[-3:]
    assert report == f"report: {suite.path}/reports/qllm.json"
    assert page == f"page: {suite.path}/reports/qllm.html"
    worst = listed[0].split()[2]
    assert last.startswith(
        f"next: see reports/qllm.html; the worst again: pytest 'test_{worst}.py::test_{worst}[bnb-nf4]'"
    )


@pytest.mark.parametrize("arguments", [("--color=yes",), ("--color=no",)], ids=" ".join)
def test_colours_are_pytest_s_own_and_stand_beside_words(suite: Suite, arguments: tuple[str, ...]) -> None:
    suite.gates("lambada")
    text = suite.run(*arguments).stdout.str()
    coloured = "\x1b[31mFAIL " in text and "\x1b[32mPASS " in text
    assert coloured == (arguments == ("--color=yes",))
    assert ("\x1b" in text) == coloured


def test_no_color_is_honoured(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    suite.gates("lambada")
    assert "\x1b" not in suite.run().stdout.str()


def heading(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("=") and " quantization " in line)


def test_many_benchmarks_on_a_narrow_terminal(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    suite.gates("lambada", "story_perplexity", "arc_easy")
    result = suite.run()
    section = result.outlines[result.outlines.index(heading(result.outlines)) :]
    section = section[: next(at for at, line in enumerate(section) if line.startswith("report: "))]
    assert max(map(len, section)) <= 40
    assert len([line for line in section if line.startswith("bnb-nf4 ")]) == 1


def test_a_failure_reads_at_once(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run()
    result.stdout.fnmatch_lines(
        [
            "FAIL: lambada on bnb-nf4 (NF4, 4 bits) of *",
            "  baseline    acc * %",
            "  candidate   acc * %",
            "  effect      -* points, between -* and -* (*)",
            "  tolerance   -*.? points: the loss is proven larger",
            "  items       40 of 120 (a fixed design would have needed *)",
            "  flips       * broken (right to wrong), * mended (wrong to right)",
            "  rerun       pytest 'test_lambada.py::test_lambada[[]bnb-nf4]' --qllm-regimes=bnb-nf4 *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*fixtures.py*")


def test_the_command_in_a_failure_runs_just_that(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    first = suite.run(max_items=80, seed=3)
    line = next(line for line in first.outlines if line.startswith("  rerun") and "lambada[bnb-nf4]" in line)
    command = shlex.split(line.split(maxsplit=1)[1])
    assert command[0] == "pytest"
    before = suite.verdicts["bnb-nf4", "lambada"]
    suite.scored.clear()
    second = suite.pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *command[1:])
    second.assert_outcomes(failed=1)
    again = suite.verdicts["bnb-nf4", "lambada"]
    assert {**again, "p_fail_holm": None, "p_pass_holm": None} == {**before, "p_fail_holm": None, "p_pass_holm": None}
    assert suite.scored == []
