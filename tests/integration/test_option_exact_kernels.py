"""--qllm-exact-kernels: score weight-only regimes through their library's own kernels."""

from __future__ import annotations

import pytest
from broken_kernels import add_kernels

from conftest import Suite


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    add_kernels(suite)
    (suite.path / "test_kernels.py").unlink()
    suite.gates("lambada")
    suite.options.update(regimes="half", max_items=40)


def scored(suite: Suite, regime: str = "half") -> str:
    return str(suite.verdicts[regime, "lambada"]["provenance"]["kernels"])


def test_without_it_the_dense_weights_are_scored(suite: Suite) -> None:
    suite.run()
    assert scored(suite) == "dense"
    assert suite.report["provenance"]["settings"]["exact_kernels"] is False
    assert suite.verdicts["half", "lambada"]["candidate"] == suite.verdicts["half", "lambada"]["baseline"]


def test_with_it_the_real_kernels_are(suite: Suite) -> None:
    suite.run("--qllm-exact-kernels", regimes="crashes")
    (error,) = suite.report["errors"]
    assert error["regime"] == "crashes"
    suite.run("--qllm-exact-kernels")
    assert scored(suite) == "exact"
    assert suite.report["provenance"]["settings"]["exact_kernels"] is True


def test_the_two_never_mix_and_the_baseline_is_shared(suite: Suite) -> None:
    suite.run()
    suite.scored.clear()
    suite.run("--qllm-exact-kernels")
    assert suite.scored == [("lambada", 40)]
    suite.scored.clear()
    suite.run()
    suite.run("--qllm-exact-kernels")
    assert suite.scored == []


@pytest.mark.parametrize("regime", ["bnb-int8", "shadowless"])
def test_without_a_shadow_the_real_kernels_are_scored_anyhow(suite: Suite, regime: str) -> None:
    suite.run(regimes=regime)
    assert scored(suite, regime) == "exact"
    suite.scored.clear()
    suite.run("--qllm-exact-kernels", regimes=regime)
    assert suite.scored == []


def test_in_the_ini_file(suite: Suite) -> None:
    suite.pytester.makeini("[pytest]\nqllm_exact_kernels = true")
    suite.run()
    assert scored(suite) == "exact"
    suite.run("-o", "qllm_exact_kernels=false")
    assert scored(suite) == "dense"


def test_the_rerun_command_has_it(suite: Suite) -> None:
    (suite.path / "test_kernels.py").write_text("def test_kernel(gate):\n    gate.kernel()\n")
    result = suite.run("--qllm-exact-kernels", "-k", "slips and kernel", regimes="slips")
    result.stdout.fnmatch_lines(["  rerun       pytest *[[]slips]* --qllm-exact-kernels"])
