"""--qllm-regimes: which tests there are, in which order, and what is said where a library is missing."""

from __future__ import annotations

import importlib.util

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.options import OPTIONS


def collected(suite: Suite, **options: object) -> list[str]:
    result = suite.run("--collect-only", "-q", **options)
    assert result.ret == 0
    return [line for line in result.outlines if "::" in line]


def test_each_regime_is_a_test_and_the_baseline_comes_first(suite: Suite) -> None:
    suite.gates("lambada")
    assert collected(suite) == [f"test_lambada.py::test_lambada[{name}]" for name in ("fp16", "bnb-int8", "bnb-nf4")]


def test_all_baselines_come_before_all_candidates(suite: Suite) -> None:
    suite.gates("arc_easy", "lambada")
    names = [line.rsplit("[", 1)[1] for line in collected(suite)]
    assert names == ["fp16]", "fp16]", "bnb-int8]", "bnb-int8]", "bnb-nf4]", "bnb-nf4]"]


def test_regimes_stand_in_the_order_given_each_once(suite: Suite) -> None:
    suite.gates("lambada")
    names = [line.rsplit("::", 1)[1] for line in collected(suite, regimes="bnb-nf4, bnb-int8,fp16,,bnb-nf4")]
    assert names == ["test_lambada[fp16]", "test_lambada[bnb-nf4]", "test_lambada[bnb-int8]"]


def test_the_default_regimes_are_collected(suite: Suite) -> None:
    suite.gates("lambada")
    names = [line.rsplit("[", 1)[1][:-1] for line in collected(suite, regimes=None)]
    default = next(option.default for option in OPTIONS if option.name == "regimes")
    assert names == ["fp16", *default.split(",")]


def test_auto_gptq_is_a_name_for_gptq(suite: Suite) -> None:
    suite.gates("lambada")
    names = [line.rsplit("[", 1)[1][:-1] for line in collected(suite, regimes="auto-gptq-4bit,gptq-4bit")]
    assert names == ["fp16", "gptq-4bit"]


def test_the_baseline_alone(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(regimes="fp16").assert_outcomes(passed=1)
    assert suite.report["verdicts"] == []
    assert [baseline["n"] for baseline in suite.report["baselines"]] == [120]


@pytest.mark.parametrize("arguments", [(), ("--collect-only",), ("-p", "no:xdist")])
def test_an_unknown_regime_is_a_usage_error(suite: Suite, arguments: tuple[str, ...]) -> None:
    suite.gates("lambada")
    result = suite.run(*arguments, regimes="bnb-int8,bnb-int7")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "unknown regime 'bnb-int7'", "the nearest names are bnb-int8", "pytest-qllm list")


@pytest.mark.parametrize("nothing", ["", ",", " , "])
def test_no_regime_at_all_is_a_usage_error(suite: Suite, nothing: str) -> None:
    suite.gates("lambada")
    result = suite.run(regimes=nothing)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, "--qllm-regimes is empty", "bnb-int8")


@pytest.mark.parametrize(
    ("library", "command", "skipped", "passed"),
    [
        ("bitsandbytes", "pip install 'pytest-qllm[bitsandbytes]'", 2, 1),
        ("torch", "pip install 'pytest-qllm[model]'", 3, 0),
        ("lm_eval", "pip install 'pytest-qllm[model]'", 3, 0),
    ],
)
def test_a_missing_library_is_a_skip_with_the_command_that_installs_it(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, library: str, command: str, skipped: int, passed: int
) -> None:
    suite.gates("lambada")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, package=None: None if name == library else find(name, package)
    )
    result = suite.run("-rs")
    result.assert_outcomes(skipped=skipped, passed=passed)
    assert command in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_the_ids_do_not_depend_on_what_is_installed(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.gates("lambada")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    assert len(collected(suite, regimes="bnb-int8,gptq-4bit")) == 3


@pytest.mark.real
def test_gptq_makes_an_artifact_and_a_verdict(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, user_cache: str | None
) -> None:
    if user_cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", user_cache)
    suite.gates("lambada")
    suite.run(regimes="gptq-2bit")
    assert suite.outcomes == {("gptq-2bit", "lambada"): "FAIL"}
    (artifact,) = (suite.path / "store/artifacts").glob("gptq-2bit-*")
    assert {path.name for path in artifact.iterdir()} == {"checkpoint", "dense"}
