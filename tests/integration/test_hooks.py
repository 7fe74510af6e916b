"""pytest_qllm_regimes and pytest_qllm_benchmarks: what another package or a conftest adds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def regimes(suite: Suite) -> None:
    suite.more_regimes()
    suite.options["regimes"] = "same,destroyed"


def test_weights_that_are_the_same_break_nothing(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run()
    for benchmark in ("lambada", "story_perplexity"):
        verdict = suite.verdicts["same", benchmark]
        assert verdict["verdict"] in ("PASS", "INCONCLUSIVE")
        assert verdict["flips"] in ({"broken": 0, "mended": 0}, {"broken": None, "mended": None})
        assert verdict["candidate"] == verdict["baseline"]
    assert suite.outcomes["same", "arc_easy"] == "NO_SIGNAL"


def test_weights_that_are_destroyed_never_pass(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run()
    assert suite.outcomes["destroyed", "lambada"] == "FAIL"
    assert suite.outcomes["destroyed", "story_perplexity"] == "FAIL"
    assert suite.outcomes["destroyed", "arc_easy"] == "NO_SIGNAL"


@pytest.mark.parametrize("inconclusive", ["skip", "pass"])
def test_destroyed_weights_fail_whatever_is_said_of_doubt(suite: Suite, inconclusive: str) -> None:
    suite.gates("lambada", "story_perplexity")
    suite.run("-k", "destroyed", inconclusive=inconclusive).assert_outcomes(failed=2)


def test_the_noise_grows_and_the_verdict_turns(suite: Suite) -> None:
    levels = (0.0, 0.05, 0.3, 1.0)
    suite.pytester.makeconftest(
        f"""
        from pytest_qllm.regimes.regime import Regime

        def pytest_qllm_regimes():
            return [Regime(f"noise-{{level}}", "noise", 8, backend="mine.noise", options={{"noise": level}})
                    for level in {levels}]
        """
    )
    suite.gates("lambada")
    suite.run(regimes=",".join(f"noise-{level}" for level in levels))
    assert suite.outcomes["noise-0.0", "lambada"] == "PASS"
    assert suite.outcomes["noise-1.0", "lambada"] == "FAIL"
    candidates = [suite.verdicts[f"noise-{level}", "lambada"]["candidate"] for level in levels]
    assert candidates == sorted(candidates, reverse=True)


def test_a_regime_that_nobody_chose_is_no_test(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run("--collect-only", "-q", regimes="same")
    assert not [line for line in result.outlines if "destroyed" in line]


def test_a_name_near_it_finds_it(suite: Suite) -> None:
    suite.gates("lambada")
    assert_refused(suite.run(regimes="sane"), "unknown regime 'sane'", "same")


def test_a_regime_whose_library_is_missing_is_a_skip(suite: Suite) -> None:
    suite.pytester.makeconftest(
        """
        from pytest_qllm.regimes.regime import Regime

        def pytest_qllm_regimes():
            return [Regime("other", "other", 4, backend="mine.noise", library="no_such_library", extra="other")]
        """
    )
    suite.gates("lambada")
    result = suite.run("-rs", regimes="other")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*other needs a library that is not here*"])


def test_a_backend_that_fails_says_so_in_one_line(suite: Suite) -> None:
    (suite.path / "mine/noise.py").write_text("def build(*arguments):\n    raise RuntimeError('no such kernel')\n")
    suite.gates("lambada")
    result = suite.run("-k", "same")
    assert_refused(result, "cannot make same", "RuntimeError: no such kernel")
    assert list((suite.path / "store/artifacts").glob("same-*")) == []


def test_a_backend_in_a_module_beside_the_conftest(suite: Suite) -> None:
    shutil.move(suite.path / "mine/noise.py", suite.path / "noise.py")
    conftest = suite.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("mine.noise", "noise"))
    suite.gates("lambada")
    suite.run(regimes="same").assert_outcomes(passed=2)


def test_a_backend_that_is_not_there(suite: Suite) -> None:
    shutil.rmtree(suite.path / "mine")
    suite.gates("lambada")
    assert_refused(suite.run("-k", "same"), "cannot make same", "No module named 'mine'")


def test_a_benchmark_of_the_users(suite: Suite) -> None:
    suite.pytester.makeconftest(
        """
        from pytest_qllm.benchmarks.benchmark import Benchmark

        def pytest_qllm_benchmarks():
            return [
                Benchmark(
                    name="ours", dimension="domain", task="lambada/lambada_openai.yaml", metric="acc", items=120,
                    quick=120, wheel=None, hub="ours/on-the-hub",
                )
            ]
        """
    )
    data = suite.own_data()
    (data / "lambada").rename(data / "ours")
    suite.gates("ours")
    suite.run(regimes="bnb-int8").assert_outcomes(passed=2)
    verdict = suite.verdicts["bnb-int8", "ours"]
    assert (verdict["verdict"], verdict["n"], verdict["dimension"]) == ("PASS", 120, "domain")


def test_its_tolerance_can_be_set_by_name(suite: Suite) -> None:
    test_a_benchmark_of_the_users(suite)
    suite.pytester.makepyprojecttoml("[tool.qllm.tolerances]\nours = {8 = 0.02}")
    suite.run(regimes="bnb-int8").assert_outcomes(passed=1, failed=1)
    assert suite.verdicts["bnb-int8", "ours"]["tolerance"] == 0.02


def test_the_files_of_the_tests_are_where_a_user_has_them(suite: Suite) -> None:
    """The backend is found from the rootdir's conftest, wherever pytest is started."""
    below = suite.path / "suites"
    below.mkdir()
    (below / "test_lambada.py").write_text("def test_lambada(gate):\n    gate('lambada')\n")
    suite.run(str(Path("suites/test_lambada.py")), regimes="same").assert_outcomes(passed=2)


OWN_TASK = """
task: own
dataset_path: own/on-the-hub
test_split: test
output_type: loglikelihood
doc_to_text: "{{text.split(' ')[:-1]|join(' ')}}"
doc_to_target: " {{text.split(' ')[-1]}}"
metric_list:
  - metric: acc
"""


def own_task(suite: Suite) -> Path:
    """A benchmark whose task file is the user's, at a full path; returns the file."""
    suite.pytester.makeconftest(
        """
        from pathlib import Path

        from pytest_qllm.benchmarks.benchmark import Benchmark

        def pytest_qllm_benchmarks():
            task = str(Path(__file__).parent / "tasks/own.yaml")
            return [Benchmark("own", "domain", task, "acc", 120, 120, wheel=None, hub="own")]
        """
    )
    (suite.path / "tasks").mkdir(exist_ok=True)
    file = suite.path / "tasks/own.yaml"
    file.write_text(OWN_TASK)
    data = suite.own_data()
    (data / "lambada").rename(data / "own")
    suite.gates("own")
    suite.options["regimes"] = "bnb-int8"
    return file


def test_a_task_file_of_the_users(suite: Suite) -> None:
    own_task(suite)
    suite.run().assert_outcomes(passed=2)
    assert suite.verdicts["bnb-int8", "own"]["baseline"] == 0.9


def test_what_the_user_edits_in_the_task_is_measured_again(suite: Suite) -> None:
    file = own_task(suite)
    suite.run()
    suite.scored.clear()
    suite.run()
    assert suite.scored == []
    file.write_text(OWN_TASK.replace("{{text.split(' ')[:-1]", "{{text.split(' ')[1:-1]"))
    suite.run()
    assert suite.scored
    suite.scored.clear()
    (file.parent / "helpers.py").write_text("def score():\n    return 1\n")
    suite.run()
    assert suite.scored


def test_a_task_file_that_is_not_there(suite: Suite) -> None:
    own_task(suite).unlink()
    assert_refused(suite.run(), "own: no task file at", "tasks/own.yaml; expected one of lm-eval's, or a full path")
