"""--qllm-regimes=gguf-q4_0: a GGUF type is made, scored by llama.cpp's kernels, and judged as any other regime."""

from __future__ import annotations

import pytest

from conftest import Suite

pytest.importorskip("llama_cpp", reason="needs llama-cpp-python: pip install 'pytest-qllm[llama]'")


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity")
    suite.options.update(regimes="gguf-q8_0,gguf-q2_k")


def test_eight_bits_pass_and_two_fail(suite: Suite) -> None:
    suite.run()
    outcomes = suite.outcomes
    assert outcomes["gguf-q8_0", "lambada"] == outcomes["gguf-q8_0", "story_perplexity"] == "PASS"
    assert outcomes["gguf-q2_k", "lambada"] == "FAIL"
    assert outcomes["gguf-q2_k", "story_perplexity"] in ("FAIL", "INCONCLUSIVE")  # twelve short texts
    provenance = suite.verdicts["gguf-q8_0", "lambada"]["provenance"]
    assert provenance["kernels"] == "exact"
    assert provenance["regime"]["options"] == {"type": "Q8_0"}
    fidelity = {name: suite.verdicts[name, "story_perplexity"]["fidelity"] for name in ("gguf-q8_0", "gguf-q2_k")}
    assert 0 < fidelity["gguf-q8_0"]["kl_mean"] < 0.1 * fidelity["gguf-q2_k"]["kl_mean"]


def test_a_second_run_scores_nothing_again(suite: Suite) -> None:
    few = {"regimes": "gguf-q8_0", "max_items": 40}
    suite.run(**few)
    before = suite.outcomes
    assert set(suite.scored) == {("lambada", 40), ("story_perplexity", 4)}
    suite.scored.clear()
    suite.run(**few)
    assert suite.scored == []
    assert suite.outcomes == before


def test_there_is_no_shadow_to_compare_the_kernel_with(suite: Suite) -> None:
    for file in suite.path.glob("test_*.py"):
        file.unlink()
    suite.pytester.makepyfile(test_kernels="def test_kernel(gate):\n    gate.kernel()\n")
    result = suite.run("-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*GGUF Q8_0 quantizes activations: no dense weights say what its kernel should*"])


def test_a_cache_of_another_width_is_not_llama_cpp_s_here(suite: Suite) -> None:
    suite.run("test_lambada.py", regimes="gguf-q8_0+kv=int4", max_items=20)
    (error,) = suite.report["errors"]
    assert "gguf-q8_0+kv=int4: llama_cpp takes no kv= here" in error["message"]
    assert suite.report["verdicts"] == []
