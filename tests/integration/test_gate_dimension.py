"""`gate.dimension`: all accuracies of a dimension as one test, on the items of the single tests."""

from __future__ import annotations

import jsonschema
import pytest

from conftest import MORE_REGIMES, Suite, assert_refused
from pytest_qllm.report.schema import schema

BENCHMARKS = """
    from pytest_qllm.benchmarks.benchmark import Benchmark

    def pytest_qllm_benchmarks():
        task = "lambada/lambada_openai.yaml"
        return [
            Benchmark("more_words", "language", task, "acc", 60, 60, None, "mine/more", chunk=20),
            Benchmark("again", "language", task, "acc", 60, 60, None, "mine/more", data="more_words"),
            Benchmark("riddles", "language", "arc/arc_easy.yaml", "acc", 48, 48, None, "mine/riddles", chunk=20),
        ]
"""


@pytest.fixture(autouse=True)
def three_benchmarks(suite: Suite) -> None:
    """LAMBADA's documents as two benchmarks, of which one is asked twice, and one that the model answers at random."""
    suite.more_regimes()
    suite.pytester.makeconftest(MORE_REGIMES + BENCHMARKS)
    data = suite.own_data()
    lines = (data / "lambada/test.jsonl").read_text().splitlines(keepends=True)
    (data / "lambada/test.jsonl").write_text("".join(lines[:60]))
    (data / "more_words").mkdir()
    (data / "more_words/test.jsonl").write_text("".join(lines[60:]))
    (data / "riddles").mkdir()
    (data / "riddles/validation.jsonl").write_text((data / "arc_easy/validation.jsonl").read_text())


def dimension(suite: Suite, words: str = "tolerance=0.05") -> None:
    suite.pytester.makepyfile(test_words=f"def test_words(gate):\n    gate.dimension('language', {words})\n")


def test_a_row_of_its_own_on_the_items_of_the_single_tests(suite: Suite) -> None:
    suite.gates("lambada", "more_words", "riddles")
    suite.run("--qllm-fixed-n", regimes="same,destroyed")
    single = suite.verdicts
    suite.scored.clear()
    dimension(suite)
    result = suite.run("test_words.py", "-v", regimes="same,destroyed")
    assert suite.scored == []  # the store has all of it
    result.assert_outcomes(passed=2, failed=1)
    same, destroyed = (suite.verdicts[regime, "language"] for regime in ("same", "destroyed"))
    assert (same["verdict"], destroyed["verdict"]) == ("PASS", "FAIL")
    assert (same["dimension"], same["n"], same["effect"]) == ("language", 120, 0)
    parts = {part["benchmark"]: part for part in same["pooled"]["parts"]}
    assert {name: part["n"] for name, part in parts.items()} == {"lambada": 60, "more_words": 60}
    assert parts["lambada"]["baseline"] == single["same", "lambada"]["baseline"]
    (why,) = same["pooled"]["left_out"].items()
    assert why[0] == "riddles"
    assert "of 48 items, chance is" in why[1]
    # Every look has the same mixture, and the whole is what its parts are.
    parts = destroyed["pooled"]["parts"]
    assert abs(parts[0]["n"] - parts[1]["n"]) <= 1
    assert sum(part["broken"] for part in parts) == destroyed["flips"]["broken"]
    effect = sum(part["n"] * part["effect"] for part in parts) / destroyed["n"]
    assert destroyed["effect"] == pytest.approx(effect)
    result.stdout.re_match_lines([r".*pooled +items of lambada .*left out: riddles", r"regime +language"])
    jsonschema.validate(suite.report, schema("qllm.schema.json"))


def test_alone_it_measures_what_the_single_tests_would(suite: Suite) -> None:
    dimension(suite)
    suite.run("--qllm-fixed-n", regimes="same")
    assert suite.verdicts["same", "language"]["verdict"] == "PASS"
    suite.scored.clear()
    suite.gates("lambada", "more_words")
    suite.run("--qllm-fixed-n", "test_lambada.py", "test_more_words.py", regimes="same")
    assert suite.scored == []


def test_the_tolerance_is_the_dimension_s_own_and_tighter(suite: Suite) -> None:
    dimension(suite, "items=40")
    suite.run(regimes="same")
    verdict = suite.verdicts["same", "language"]
    assert (verdict["tolerance"], verdict["verdict"], verdict["n"]) == (0.015, "INCONCLUSIVE", 80)
    (suite.path / "pyproject.toml").write_text(
        "[tool.qllm.tolerances.pooled]\n8 = 0.06\n2 = 0.1\n[tool.qllm.tolerances.language]\n2 = 0.2\n"
        '[tool.qllm.expected.destroyed.language]\nreason = "it is destroyed"\nbound = 0.99\n'
    )
    suite.run(regimes="same,destroyed").assert_outcomes(passed=2, xfailed=1)
    found = {regime: verdict["tolerance"] for (regime, _), verdict in suite.verdicts.items()}
    assert found == {"same": 0.06, "destroyed": 0.2}


def test_one_benchmark_with_a_signal_is_none(suite: Suite) -> None:
    dimension(suite, "benchmarks=['lambada', 'riddles'], tolerance=0.05")
    suite.run(regimes="destroyed").assert_outcomes(passed=1, skipped=1)
    verdict = suite.verdicts["destroyed", "language"]
    assert verdict["verdict"] == "NO_SIGNAL"
    assert verdict["reason"].startswith("pooling needs 2 benchmarks with a signal, and there is lambada (riddles: ")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("gate.dimension('wisdom')", "unknown dimension 'wisdom'; known dimensions: knowledge, language"),
        ("gate.dimension('language', benchmarks=['piqa'])", "piqa: no accuracy of the dimension 'language'"),
        ("gate.dimension('language', benchmarks=['lambada'])", "has 1 accuracies (lambada); pooling needs 2"),
        (
            "gate.dimension('language', benchmarks=['more_words', 'again'])",
            "more_words and again ask of the same documents",
        ),
        ("gate.dimension('language', items=0)", "items is 0; expected a whole number from 1"),
        ("gate.dimension('language', tolerance=3)", "the tolerance 3 is out of range"),
    ],
)
def test_what_cannot_be_pooled_is_one_line(suite: Suite, call: str, says: str) -> None:
    suite.pytester.makepyfile(test_words=f"def test_words(gate):\n    {call}\n")
    assert_refused(suite.run("-k", "same", regimes="same"), says)


def test_it_is_planned_like_any_gate(suite: Suite) -> None:
    dimension(suite)
    result = suite.run("--qllm-plan", regimes="same")
    result.stdout.re_match_lines([r"language +same +5.0 +\d+ of 168 .*"])
    assert suite.scored == []
