"""Simulated regimes are regimes like any other: made once, gated, and told by name when they lose."""

from __future__ import annotations

from conftest import Suite


def test_more_bits_pass_and_one_bit_fails(suite: Suite) -> None:
    suite.gates("lambada")
    suite.run(regimes="rtn-8bit,nested-8bit,rtn-1bit").assert_outcomes(passed=3, failed=1)
    assert suite.outcomes == {
        ("rtn-8bit", "lambada"): "PASS",
        ("nested-8bit", "lambada"): "PASS",
        ("rtn-1bit", "lambada"): "FAIL",
    }


def test_a_group_size_that_does_not_divide_is_one_line(suite: Suite) -> None:
    suite.gates("lambada")
    result = suite.run(regimes="rtn-8bit-g256")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "lambada[[]rtn-8bit-g256]: groups of 256 do not divide the 64 inputs of model.layers.0.self_attn.q_proj; "
            "sizes that do: 16, 32, 64"
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
