"""Every regime that can be chosen by name: a session over those of a library on two benchmarks ends without an error.

One session for each library, so that the baseline is measured once for all its regimes. Of widths that go the same way
through a library that is slow to start or to calibrate (`SPARED`), one stands for all, unless QLLM_ALL_REGIMES is set.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from itertools import groupby

import pytest

from conftest import Suite
from pytest_qllm.regimes.catalog import BUILTIN
from pytest_qllm.regimes.regime import Regime

NAMED = [regime for regime in BUILTIN if not regime.is_baseline]

# They read the calibration texts from the wheel that is fetched once.
REAL = [regime for regime in NAMED if "calibration" in regime.options and not regime.device]

# GPTQModel starts a process for each width, in which it imports torch and itself; 8, 3 and 2 bits differ from 4 in a
# number (tests/unit/regimes/test_grids.py has each). SpQR and SliM-LLM run the same solver for each.
SPARED = {"gptq-8bit", "gptq-3bit", "gptq-2bit", "spqr-4bit", "spqr-3bit", "slim-4bit", "slim-2bit"}
CHOSEN = [regime for regime in NAMED if os.environ.get("QLLM_ALL_REGIMES") or regime.name not in SPARED]


def _sessions() -> list[object]:
    """By library, and apart those that need calibration texts."""
    sessions = []
    for backend, regimes in groupby(CHOSEN, lambda regime: regime.backend.partition(":")[0]):
        every = list(regimes)
        plain = [one for one in every if one not in REAL]
        real = [one for one in every if one in REAL]
        if plain:
            sessions.append(pytest.param(plain, id=backend))
        if real:
            sessions.append(pytest.param(real, id=f"{backend}-calibrated", marks=[pytest.mark.real]))
    return sessions


@pytest.fixture(autouse=True, scope="module")
def quantizers() -> None:
    """Import them before pytester comes, which forgets what it saw imported: some register their kernels only once."""
    for library in {regime.library for regime in NAMED if regime.library}:
        with suppress(ImportError):
            importlib.import_module(library)


@pytest.mark.parametrize("regimes", _sessions())
def test_a_session_over_all_of_a_library_ends_without_an_error(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, user_cache: str | None, regimes: list[Regime]
) -> None:
    absent = {regime.name: regime.missing() or regime.needs_device() for regime in regimes}
    if any(regime in REAL for regime in regimes) and user_cache is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", user_cache)
    suite.gates("lambada", "story_perplexity")
    result = suite.run("-rs", regimes=",".join(absent), max_items=40)
    assert "Traceback" not in result.stdout.str()
    assert suite.report["errors"] == []
    judged = {(verdict["regime"], verdict["benchmark"]) for verdict in suite.report["verdicts"]}
    here = [name for name, reason in absent.items() if reason is None]
    assert judged == {(name, benchmark) for name in here for benchmark in ("lambada", "story_perplexity")}
    told = " ".join(result.stdout.str().split())
    for reason in filter(None, absent.values()):
        assert reason in told
    if not here:
        pytest.skip("; ".join(sorted({str(reason) for reason in absent.values()})))


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
    """At least 30 names of at least 8 methods that run on a CPU."""
    on_cpu = [regime for regime in NAMED if not regime.device]
    assert len(on_cpu) >= 30
    # The first word alone: a library's kinds, and the types of GGUF, are variants of one method.
    assert len({regime.method.split()[0] for regime in on_cpu}) >= 8
