"""--qllm-tolerances, [tool.qllm.tolerances], and the markers qllm_tolerance and qllm_items."""

from __future__ import annotations

import json

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.cli import main
from pytest_qllm.verdict.tolerance import DEFAULTS

KIND = BenchmarkCatalog().get("lambada").kind


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


def tolerance(suite: Suite, regime: str = "bnb-int8", benchmark: str = "lambada") -> float:
    return float(suite.verdicts[regime, benchmark]["tolerance"])


def test_the_defaults_go_by_width_and_kind(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run(regimes="bnb-int8,bnb-nf4", max_items=8)
    kinds = {benchmark.name: benchmark.kind for benchmark in BenchmarkCatalog()}
    assert kinds["lambada"] == kinds["arc_easy"] != kinds["story_perplexity"]
    for (regime, benchmark), verdict in suite.verdicts.items():
        bits = {"bnb-int8": 8, "bnb-nf4": 4}[regime]
        assert verdict["tolerance"] == DEFAULTS[kinds[benchmark]][bits]


def test_a_stricter_tolerance_decides_otherwise(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml("[tool.qllm.tolerances]\naccuracy = {8 = 0.01}")
    suite.run().assert_outcomes(passed=1, failed=1)
    assert suite.outcomes == {("bnb-int8", "lambada"): "INCONCLUSIVE"}
    assert tolerance(suite) == 0.01


def test_a_wider_tolerance_decides_otherwise(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml("[tool.qllm.tolerances]\naccuracy = {4 = 0.5}")
    suite.run(regimes="bnb-nf4").assert_outcomes(passed=2)
    assert suite.outcomes == {("bnb-nf4", "lambada"): "PASS"}


def test_a_benchmark_has_its_own_before_its_kind(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml(
        """
        [tool.qllm.tolerances.accuracy]
        8 = 0.01
        [tool.qllm.tolerances.lambada]
        8 = 0.05
        """
    )
    suite.run(max_items=8)
    assert tolerance(suite) == 0.05


def test_a_file_named_by_the_option_stands_instead_of_pyproject(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml("[tool.qllm.tolerances]\naccuracy = {8 = 0.01}")
    (suite.path / "release.toml").write_text("[tool.qllm.tolerances]\naccuracy = {8 = 0.07}")
    suite.run(tolerances="release.toml", max_items=8)
    assert tolerance(suite) == 0.07
    assert suite.report["provenance"]["settings"]["tolerances"] == {"accuracy": {"8": 0.07}}
    assert suite.report["provenance"]["settings"]["tolerances_file"] == str(suite.path / "release.toml")


@pytest.mark.parametrize(
    ("marker", "expected"),
    [("0.2", 0.2), ("{8: 0.3}", 0.3), ("{4: 0.3}", DEFAULTS["accuracy"][8]), ("{8: 0.25, 4: 0.3}", 0.25)],
)
def test_a_marker_stands_over_the_file(suite: Suite, marker: str, expected: float) -> None:
    marked(suite, f"qllm_tolerance({marker})")
    suite.run("--strict-markers", max_items=8)
    assert tolerance(suite) == expected


def test_a_marker_of_a_module_and_the_nearer_one(suite: Suite) -> None:
    suite.pytester.makepyfile(
        test_lambada="""
        import pytest

        pytestmark = [pytest.mark.qllm_tolerance(0.5), pytest.mark.qllm_items(10)]

        @pytest.mark.qllm_items(12)
        def test_lambada(gate):
            gate("lambada")
        """
    )
    suite.run("--strict-markers")
    assert tolerance(suite) == 0.5
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 12


def test_the_call_stands_over_the_markers(suite: Suite) -> None:
    suite.pytester.makepyfile(
        test_lambada="""
        import pytest

        @pytest.mark.qllm_tolerance(0.5)
        @pytest.mark.qllm_items(10)
        def test_lambada(gate):
            gate("lambada", tolerance=0.4, items=20)
        """
    )
    suite.run()
    assert tolerance(suite) == 0.4
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 20


@pytest.mark.parametrize(
    "marker",
    [
        "qllm_tolerance()",
        "qllm_tolerance(0.1, 0.2)",
        "qllm_tolerance(value=0.1)",
        "qllm_tolerance('wide')",
        "qllm_tolerance(-0.1)",
        "qllm_tolerance(1.5)",
        "qllm_tolerance(True)",
        "qllm_tolerance({8: 'wide'})",
        "qllm_tolerance(float('nan'))",
        "qllm_items(0)",
        "qllm_items('many')",
        "qllm_items(True)",
        "qllm_items()",
        "qllm_items(n=5)",
        "qllm_items(5, 6)",
    ],
)
def test_a_marker_that_says_nothing_is_refused(suite: Suite, marker: str) -> None:
    marked(suite, marker)
    result = suite.run(max_items=8)
    assert result.parseoutcomes()["failed"] >= 1
    assert "Traceback" not in result.stdout.str()
    assert "fixtures.py" not in result.stdout.str()
    assert suite.report["verdicts"] == []


def marked(suite: Suite, marker: str) -> None:
    suite.pytester.makepyfile(
        test_lambada=f"""
        import pytest

        @pytest.mark.{marker}
        def test_lambada(gate):
            gate("lambada")
        """
    )


def test_the_markers_are_explained(suite: Suite) -> None:
    result = suite.run("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.qllm_tolerance(value): *", "@pytest.mark.qllm_items(n): *"])


def test_a_file_that_is_not_there_is_a_usage_error(suite: Suite) -> None:
    result = suite.run(tolerances="none.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "--qllm-tolerances is 'none.toml'", "no such file")


@pytest.mark.parametrize(
    "content",
    [
        b"[tool.qllm.tolerances",
        b"\xff\xfe",
        b"[tool.qllm]\ntolerances = 3",
        b"[tool]\nqllm = 3",
    ],
    ids=["cut", "bytes", "number", "no table"],
)
def test_a_file_that_is_no_table_is_a_usage_error(suite: Suite, content: bytes) -> None:
    (suite.path / "tolerances.toml").write_bytes(content)
    result = suite.run(tolerances="tolerances.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "tolerances.toml")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("acuracy = {8 = 0.1}", "tolerances for 'acuracy'"),
        ("accuracy = 0.1", "tolerances.accuracy is 0.1"),
        ("accuracy = {8 = 3}", "the tolerance 3 is out of range"),
        ("accuracy = {8 = -0.1}", "the tolerance -0.1 is out of range"),
        ("accuracy = {8 = nan}", "the tolerance nan is out of range"),
        ("accuracy = {8 = 'x'}", "the tolerance 'x' is out of range"),
        ("accuracy = {eight = 0.1}", "has the key 'eight'"),
        ("perplexity = {8 = 0.02}", "the tolerance 0.02 is out of range"),
        ("lambada = {8 = 1.02}", "the tolerance 1.02 is out of range"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(suite: Suite, table: str, words: str) -> None:
    suite.pytester.makepyprojecttoml(f"[tool.qllm.tolerances]\n{table}")
    assert_refused(suite.run(max_items=8), words)


def test_the_printed_table_is_the_one_that_applies(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.pytester.makepyprojecttoml("[tool.qllm.tolerances]\nlambada = {8 = 0.11}\naccuracy = {4 = 0.22}")
    suite.run(regimes="bnb-int8,bnb-nf4", max_items=8)
    capsys.readouterr()
    assert main(["tolerances", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)["lambada"]
    assert (printed["8"], printed["4"]) == (0.11, 0.22) == (tolerance(suite), tolerance(suite, "bnb-nf4"))
