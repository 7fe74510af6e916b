"""The ini twin of every option: the command line over the ini file over the default."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.options import OPTIONS


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options.update(regimes="bnb-int8", max_items=40)


def ini(suite: Suite, **more: object) -> None:
    lines = [f"qllm_{name} = {value}" for name, value in {**suite.options, **more}.items()]
    suite.pytester.makeini("\n".join(["[pytest]", *lines]))


def by_ini_alone(suite: Suite, *arguments: str, **options: object) -> pytest.RunResult:
    return suite.run(*arguments, **{**dict.fromkeys(suite.options), **options})


def test_a_run_with_nothing_but_an_ini_file(suite: Suite) -> None:
    ini(suite, report="out", seed=3, inconclusive="pass")
    by_ini_alone(suite).assert_outcomes(passed=2)
    assert (suite.path / "out/qllm.json").is_file()


def test_the_same_in_pyproject(suite: Suite) -> None:
    lines = [f'qllm_{name} = "{value}"' for name, value in suite.options.items()]
    suite.pytester.makepyprojecttoml("\n".join(["[tool.pytest.ini_options]", *lines]))
    by_ini_alone(suite).assert_outcomes(passed=1, failed=1)
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 40


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_a_twin(suite: Suite, option: object) -> None:
    result = suite.run("--help")
    assert option.flag + ("\n" if option.is_switch else "=") in result.stdout.str()  # type: ignore[attr-defined]
    assert f"{option.ini} (string)" in result.stdout.str()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "in_file", "given"),
    [
        ("model", "/no/such", None),
        ("regimes", "bnb-int7", None),
        ("dtype", "float7", None),
        ("device", "tpu", None),
        ("max_items", "many", None),
        ("data", "/no/such", None),
        ("inconclusive", "perhaps", "fail"),
        ("seed", "x", "1"),
        ("tolerances", "none.toml", "some.toml"),
    ],
)
def test_the_command_line_wins(suite: Suite, name: str, in_file: str, given: str | None) -> None:
    (suite.path / "some.toml").write_text("")
    ini(suite, **{name: in_file})
    by_ini_alone(suite, **{name: given or suite.options[name]})
    assert suite.outcomes == {("bnb-int8", "lambada"): "INCONCLUSIVE"}


@pytest.mark.parametrize("value", ["yes", "1", "True", ""])
def test_a_switch_is_true_or_false(suite: Suite, value: str) -> None:
    ini(suite, exact_kernels=value)
    result = by_ini_alone(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"qllm_exact_kernels is {value!r}; expected one of true, false")


@pytest.mark.parametrize(
    ("name", "value"),
    [("regimes", "bnb-int7"), ("dtype", "fp16"), ("device", "tpu"), ("max_items", "x"), ("seed", "-1")],
)
def test_a_wrong_value_in_the_file_is_a_usage_error(suite: Suite, name: str, value: str) -> None:
    ini(suite, **{name: value})
    result = by_ini_alone(suite)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert_refused(result, f"'{value}'", "unknown regime" if name == "regimes" else f"--qllm-{name.replace('_', '-')}")


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "store",
        "model",
    ],
)
def test_relative_paths_are_relative_to_the_root(suite: Suite, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    suite.own_data()
    suite.own_model()
    ini(suite, **{name: name})
    (suite.path / "below").mkdir()
    monkeypatch.chdir(suite.path / "below")
    by_ini_alone(suite, str(suite.path / "test_lambada.py"))
    assert suite.outcomes == {("bnb-int8", "lambada"): "INCONCLUSIVE"}
