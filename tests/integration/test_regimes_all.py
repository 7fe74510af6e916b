"""Every regime that can be chosen by name: a session over it on two benchmarks ends without an error."""

from __future__ import annotations

import importlib
from contextlib import suppress

import pytest

from conftest import Suite
from pytest_qllm.regimes.catalog import BUILTIN, METHODS
from pytest_qllm.regimes.regime import Regime

NAMED = [regime for regime in BUILTIN if not regime.is_baseline]

# They read the calibration texts from the wheel that is fetched once, and GPTQModel starts a process for each width.
REAL = [regime for regime in NAMED if "calibration" in regime.options and not regime.device]


@pytest.fixture(autouse=True, scope="module")
def quantizers() -> None:
    """Import them before pytester comes, which forgets what it saw imported: some register their kernels only once."""
    for library in {regime.library for regime in NAMED if regime.library}:
        with suppress(ImportError):
            importlib.import_module(library)


def _cases() -> list[object]:
    return [pytest.param(one, id=one.name, marks=[pytest.mark.real] if one in REAL else []) for one in NAMED]


@pytest.mark.parametrize("regime", _cases())
def test_a_session_over_it_ends_without_an_error(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, user_cache: str | None, regime: Regime
) -> None:
    reason = regime.missing() or regime.needs_device()
    if regime in REAL and user_cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", user_cache)
    suite.gates("lambada", "story_perplexity")
    result = suite.run("-rs", regimes=regime.name, max_items=40)
    outcomes = result.parseoutcomes()
    if reason is not None:
        assert outcomes == {"passed": 2, "skipped": 2}
        assert reason in result.stdout.str()
        pytest.skip(reason)
    assert suite.report["errors"] == []
    assert {verdict["regime"] for verdict in suite.report["verdicts"]} == {regime.name}
    assert len(suite.report["verdicts"]) == 2
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("name", ["torchao-fp8-dynamic", "torchao-int4", "awq-4bit"])
def test_what_needs_cuda_is_a_skip_where_there_is_none(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Regime, "missing", lambda self: None)
    monkeypatch.setattr("pytest_qllm.regimes.regime._cuda_works", lambda: False)
    suite.gates("lambada")
    result = suite.run("-rs", regimes=name)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED*{name} runs on CUDA only: *has no other kernel for *"])


def test_what_needs_cuda_is_a_skip_where_the_cpu_was_asked_for(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Regime, "missing", lambda self: None)
    monkeypatch.setattr("pytest_qllm.regimes.regime._cuda_works", lambda: True)
    suite.gates("lambada")
    result = suite.run("-rs", regimes="awq-4bit", device="cpu")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*awq-4bit runs on CUDA only, and --qllm-device is 'cpu'"])


def test_a_group_size_that_does_not_divide_is_one_line(suite: Suite) -> None:
    pytest.importorskip("torchao")
    suite.gates("lambada")
    result = suite.run(regimes="torchao-4bit-g128")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*lambada[[]torchao-4bit-g128]: torchao-4bit-g128: groups of 128 do not divide the 64 inputs of "
            "model.layers.0.self_attn.q_proj; group sizes that fit every layer: 16, 32, 64"
        ]
    )


def test_there_are_many() -> None:
    """At least 30 names of at least 8 methods; most run on a CPU."""
    assert len(NAMED) >= 30
    assert len({method.backend for method in METHODS}) >= 6
