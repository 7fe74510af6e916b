"""`gate.dimension`: all accuracies (or perplexities) of a dimension as one test, on the items of the single tests."""

from __future__ import annotations

import json
from math import log

import jsonschema
import pytest

from conftest import MORE_REGIMES, Suite, assert_refused
from pytest_qllm.report.schema import schema

BENCHMARKS = """
    from pytest_qllm.benchmarks.benchmark import Benchmark

    def pytest_qllm_benchmarks():
        task = "lambada/lambada_openai.yaml"
        return [
            Benchmark("words", "speech", task, "acc", 60, 60, None, "mine/words"),
            Benchmark("more_words", "speech", task, "acc", 60, 60, None, "mine/more", chunk=20),
            Benchmark("again", "speech", task, "acc", 60, 60, None, "mine/more", data="more_words"),
            Benchmark("riddles", "speech", "arc/arc_easy.yaml", "acc", 48, 48, None, "mine/riddles", chunk=20),
            *(
                Benchmark(name, "prose", "qllm:story_perplexity.yaml", "perplexity", 40, 40, None, "", chunk=4)
                for name in ("tales", "fables")
            ),
        ]
"""


@pytest.fixture(autouse=True)
def a_dimension(suite: Suite) -> None:
    """LAMBADA's documents as two benchmarks, of which one is asked twice, and one that the model answers at random."""
    suite.more_regimes()
    suite.pytester.makeconftest(MORE_REGIMES + BENCHMARKS)
    data = suite.own_data()
    lines = (data / "lambada/test.jsonl").read_text().splitlines(keepends=True)
    stories = (data / "story_perplexity/validation.jsonl").read_text().splitlines(keepends=True)
    for name, file, texts in (
        ("words", "test.jsonl", lines[:60]),
        ("more_words", "test.jsonl", lines[60:]),
        ("riddles", "validation.jsonl", (data / "arc_easy/validation.jsonl").read_text().splitlines(keepends=True)),
        ("tales", "validation.jsonl", stories),
        ("fables", "validation.jsonl", map(_backwards, stories)),
    ):
        (data / name).mkdir()
        (data / name / file).write_text("".join(texts))


def _backwards(line: str) -> str:
    return json.dumps({"story": " ".join(reversed(json.loads(line)["story"].split()))}) + "\n"


def dimension(suite: Suite, words: str = "tolerance=0.05") -> None:
    suite.pytester.makepyfile(test_speech=f"def test_speech(gate):\n    gate.dimension('speech', {words})\n")


def test_a_row_of_its_own_on_the_items_of_the_single_tests(suite: Suite) -> None:
    suite.gates("words", "more_words", "riddles")
    suite.run("--qllm-fixed-n", regimes="same,destroyed")
    single = suite.verdicts
    suite.scored.clear()
    dimension(suite)
    result = suite.run("test_speech.py", "-v", regimes="same,destroyed")
    assert suite.scored == []  # the store has all of it
    result.assert_outcomes(passed=2, failed=1)
    same, destroyed = (suite.verdicts[regime, "speech"] for regime in ("same", "destroyed"))
    assert (same["verdict"], destroyed["verdict"]) == ("PASS", "FAIL")
    assert (same["dimension"], same["n"], same["effect"]) == ("speech", 120, 0)
    parts = {part["benchmark"]: part for part in same["pooled"]["parts"]}
    assert {name: part["n"] for name, part in parts.items()} == {"words": 60, "more_words": 60}
    assert parts["words"]["baseline"] == single["same", "words"]["baseline"]
    (why,) = same["pooled"]["left_out"].items()
    assert why[0] == "riddles"
    assert "of 48 items, chance is" in why[1]
    # Every look has the same mixture, and the whole is what its parts are.
    parts = destroyed["pooled"]["parts"]
    assert abs(parts[0]["n"] - parts[1]["n"]) <= 1
    assert sum(part["broken"] for part in parts) == destroyed["flips"]["broken"]
    effect = sum(part["n"] * part["effect"] for part in parts) / destroyed["n"]
    assert destroyed["effect"] == pytest.approx(effect)
    result.stdout.re_match_lines([r".*pooled +items of words .*left out: riddles", r"regime +speech"])
    jsonschema.validate(suite.report, schema("qllm.schema.json"))


def test_alone_it_measures_what_the_single_tests_would(suite: Suite) -> None:
    dimension(suite)
    suite.run("--qllm-fixed-n", regimes="same")
    assert suite.verdicts["same", "speech"]["verdict"] == "PASS"
    suite.scored.clear()
    suite.gates("words", "more_words")
    suite.run("--qllm-fixed-n", "test_words.py", "test_more_words.py", regimes="same")
    assert suite.scored == []


def test_the_tolerance_is_the_dimension_s_own_and_tighter(suite: Suite) -> None:
    dimension(suite, "items=40")
    suite.run(regimes="same")
    verdict = suite.verdicts["same", "speech"]
    assert (verdict["tolerance"], verdict["verdict"], verdict["n"]) == (0.015, "INCONCLUSIVE", 80)
    (suite.path / "pyproject.toml").write_text(
        "[tool.qllm.tolerances.pooled]\n8 = 0.06\n2 = 0.1\n[tool.qllm.tolerances.speech]\n2 = 0.2\n"
        '[tool.qllm.expected.destroyed.speech]\nreason = "it is destroyed"\nbound = 0.99\n'
    )
    suite.run(regimes="same,destroyed").assert_outcomes(passed=2, xfailed=1)
    found = {regime: verdict["tolerance"] for (regime, _), verdict in suite.verdicts.items()}
    assert found == {"same": 0.06, "destroyed": 0.2}


def test_one_benchmark_with_a_signal_is_none(suite: Suite) -> None:
    dimension(suite, "benchmarks=['words', 'riddles'], tolerance=0.05")
    suite.run(regimes="destroyed").assert_outcomes(passed=1, skipped=1)
    verdict = suite.verdicts["destroyed", "speech"]
    assert verdict["verdict"] == "NO_SIGNAL"
    assert verdict["reason"].startswith("pooling needs 2 benchmarks with a signal, and there is words (riddles: ")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            "gate.dimension('wisdom')",
            "unknown dimension 'wisdom'; known dimensions: alignment, knowledge, language, prose, speech",
        ),
        ("gate.dimension('speech', benchmarks=['piqa'])", "piqa: not among the accuracies of the dimension 'speech'"),
        ("gate.dimension('prose', tolerance=0.02)", "the tolerance 0.02 is out of range"),
        ("gate.dimension('prose', tolerance='99%')", "a perplexity's is a ratio already"),
        ("gate.dimension('speech', benchmarks=['words'])", "has 1 accuracies (words); pooling needs 2"),
        (
            "gate.dimension('speech', benchmarks=['more_words', 'again'])",
            "more_words and again ask of the same documents",
        ),
        ("gate.dimension('speech', items=0)", "items is 0; expected a whole number from 1"),
        ("gate.dimension('speech', tolerance=3)", "the tolerance 3 is out of range"),
    ],
)
def test_what_cannot_be_pooled_is_one_line(suite: Suite, call: str, says: str) -> None:
    suite.pytester.makepyfile(test_speech=f"def test_speech(gate):\n    {call}\n")
    assert_refused(suite.run("-k", "same", regimes="same"), says)


def test_texts_are_pooled_token_by_token(suite: Suite) -> None:
    suite.gates("tales", "fables")
    suite.run("--qllm-fixed-n", regimes="same,destroyed")
    single = suite.verdicts
    suite.scored.clear()
    suite.pytester.makepyfile(test_prose="def test_prose(gate):\n    gate.dimension('prose')\n")
    suite.run("test_prose.py", "--qllm-fixed-n", regimes="same,destroyed").assert_outcomes(passed=2, failed=1)
    assert suite.scored == []  # the store has all of it
    same, destroyed = (suite.verdicts[regime, "prose"] for regime in ("same", "destroyed"))
    assert (same["verdict"], same["scale"], same["metric"], same["tolerance"]) == ("PASS", "ratio", "perplexity", 1.015)
    assert (destroyed["verdict"], destroyed["tolerance"]) == ("FAIL", 1.1)
    parts = {part["benchmark"]: part for part in destroyed["pooled"]["parts"]}
    assert set(parts) == {"tales", "fables"}
    for name, part in parts.items():
        of_its_own = single["destroyed", name]
        assert part["n"] == of_its_own["n"]
        assert part["broken"] is None
        assert part["baseline"] == pytest.approx(of_its_own["baseline"])
        assert part["effect"] == pytest.approx(of_its_own["effect"])
    # Every token counts once: the baseline says what share of them each part has, and the ratio follows.
    one, other = parts.values()
    share = log(destroyed["baseline"] / other["baseline"]) / log(one["baseline"] / other["baseline"])
    assert 0.2 < share < 0.8
    assert destroyed["effect"] == pytest.approx(one["effect"] ** share * other["effect"] ** (1 - share))
    (suite.path / "pyproject.toml").write_text(
        "[tool.qllm.tolerances.pooled_perplexity]\n8 = 1.02\n[tool.qllm.tolerances.prose]\n2 = 1.3\n"
        '[tool.qllm.expected.destroyed.prose]\nreason = "it is destroyed"\nbound = 1e6\n'
    )
    suite.run("test_prose.py", regimes="same,destroyed").assert_outcomes(passed=2, xfailed=1)
    found = {regime: verdict["tolerance"] for (regime, _), verdict in suite.verdicts.items()}
    assert found == {"same": 1.02, "destroyed": 1.3}


def test_it_is_planned_like_any_gate(suite: Suite) -> None:
    dimension(suite)
    result = suite.run("--qllm-plan", regimes="same")
    result.stdout.re_match_lines([r"speech +same +5.0 +\d+ of 168 .*"])
    assert suite.scored == []
