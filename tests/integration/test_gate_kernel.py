"""gate.kernel(): the library's kernel against the weights that it multiplies, as a test of its own."""

from __future__ import annotations

import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from broken_kernels import add_kernels

from conftest import Suite, assert_refused


@pytest.fixture(autouse=True)
def kernels(suite: Suite) -> None:
    add_kernels(suite)


def by_regime(suite: Suite) -> dict[str, dict[str, Any]]:
    return {kernel["regime"]: kernel for kernel in suite.report["kernels"]}


def test_sound_kernels_pass_and_the_report_has_the_figures(suite: Suite) -> None:
    result = suite.run("-rs", regimes="sound,half")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        ["kernel sound agrees: logits max *, mean *; worst layer *", "    noise floor max *, mean *"]
    )
    result.stdout.fnmatch_lines(["SKIPPED*fp16 is not quantized: it has no kernel*"])
    found = by_regime(suite)
    assert found["sound"]["agrees"]
    assert found["half"]["agrees"]
    assert 0 < found["half"]["figures"]["logits"]["mean"] < found["half"]["limits"]["logits_mean"]
    assert found["sound"]["figures"]["layers"] == 14
    assert suite.report["errors"] == []


def test_one_altered_channel_of_one_layer_fails(suite: Suite) -> None:
    result = suite.run(regimes="slips")
    result.assert_outcomes(failed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "KERNEL DISAGREES: slips (noise, 8 bits) of *: 1 of 14 layers differ by more than rounding explains",
            "  layers      1 of 14 above 5 rounding units; worst model.layers.1.mlp.down_proj: * units",
            "  rerun       pytest 'test_kernels.py::test_kernel[[]slips]' --qllm-regimes=slips *",
            "kernel slips DISAGREES: *",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert not by_regime(suite)["slips"]["agrees"]
    assert suite.report["errors"] == []


def test_nan_is_a_disagreement(suite: Suite) -> None:
    """As infinity in a kernel's own precision: the weights that it was given are finite."""
    suite.run(regimes="nan").assert_outcomes(failed=1, skipped=1)
    kernel = by_regime(suite)["nan"]
    assert (kernel["agrees"], kernel["figures"]["logits"]) == (False, None)


def test_a_kernel_that_crashes_is_one_line(suite: Suite) -> None:
    assert_refused(suite.run(regimes="crashes"), "the kernel of crashes cannot run (RuntimeError: illegal instruction)")
    assert suite.report["kernels"] == []
    assert [error["regime"] for error in suite.report["errors"]] == ["crashes"]


def test_a_backend_without_a_kernel_is_no_evidence(suite: Suite) -> None:
    assert_refused(suite.run(regimes="plain"), "no layer of the model with the real kernels is quantized")


@pytest.mark.parametrize(
    ("regime", "reason"),
    [
        ("shadowless", "mine.shadowless has no `dense`: shadowless is scored through its real kernel"),
        ("bnb-int8", "LLM.int8() quantizes activations: *"),
    ],
)
def test_nothing_to_compare_is_a_skip_with_its_reason(suite: Suite, regime: str, reason: str) -> None:
    result = suite.run("-rs", regimes=regime)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines([f"SKIPPED*{reason}*"])


def test_a_second_run_loads_nothing(suite: Suite) -> None:
    suite.run(regimes="slips")
    before = by_regime(suite)
    (suite.path / "mine/kernels.py").write_text("def build(): ...\ndef load(): 1 / 0\ndef dense(): 1 / 0\n")
    suite.run(regimes="slips").assert_outcomes(failed=1, skipped=1)
    assert by_regime(suite) == before


@pytest.mark.parametrize("damage", ["", '{"content": 1}'])
def test_a_damaged_result_is_made_again(suite: Suite, damage: str) -> None:
    suite.run(regimes="sound")
    (file,) = (suite.path / "store/kernels").glob("sound-*.json")
    whole = file.read_text()
    file.write_text(damage)
    suite.run(regimes="sound").assert_outcomes(passed=1, skipped=1)
    assert json.loads(file.read_text()) == json.loads(whole)


def test_4_bits_of_bitsandbytes(suite: Suite) -> None:
    suite.run(regimes="bnb-nf4,bnb-fp4").assert_outcomes(passed=2, skipped=1)
    for kernel in suite.report["kernels"]:
        # In float32, as asked; on a CPU with native bfloat16 (0.77 there) the library's own product rounds to that.
        assert kernel["figures"]["worst"] < 1


def test_the_test_counts_as_one_that_asked(suite: Suite) -> None:
    suite.pytester.makepyfile(test_kernels="def test_kernel(gate):\n    assert gate.kernel().agrees\n")
    suite.run(regimes="sound").assert_outcomes(passed=1, skipped=1)


def test_quality_is_judged_apart(suite: Suite) -> None:
    """A broken kernel is no quantization loss: the weights are as good as they are."""
    suite.gates("lambada")
    suite.run(regimes="nan").assert_outcomes(passed=2, failed=1, skipped=1)
    assert suite.outcomes == {("nan", "lambada"): "PASS"}


def test_junit_has_the_figures(suite: Suite) -> None:
    suite.run("--junitxml=junit.xml", regimes="slips")
    properties = {
        one.get("name"): one.get("value") for one in ElementTree.parse(suite.path / "junit.xml").iter("property")
    }
    assert properties["qllm.kernel"] == "disagrees"
    assert float(properties["qllm.kernel_worst_layer"] or 0) > 4
    assert {"qllm.kernel_max", "qllm.kernel_mean", "qllm.kernel_noise_max", "qllm.kernel_noise_mean"} <= {*properties}


@pytest.mark.slow
def test_under_xdist_the_records_come_back(suite: Suite) -> None:
    pytest.importorskip("xdist")
    suite.run("-n1", regimes="sound,slips").assert_outcomes(passed=1, failed=1, skipped=1)
    assert {name: kernel["agrees"] for name, kernel in by_regime(suite).items()} == {"sound": True, "slips": False}


def test_a_simulated_regime_has_no_kernel(suite: Suite) -> None:
    result = suite.run("-rs", regimes="rtn-4bit")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*rtn-4bit is simulated: no kernel multiplies its quantized weights*"])


@pytest.mark.skipif(importlib.util.find_spec("optimum") is None, reason="optimum-quanto is not installed")
def test_a_small_cache_is_no_part_of_a_kernel(suite: Suite) -> None:
    result = suite.run("-rs", regimes="fp16+kv=int4,bnb-nf4+kv=int4")
    result.assert_outcomes(passed=1, skipped=2)
    assert len(suite.report["kernels"]) == 1
