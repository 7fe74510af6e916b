"""The rule: which figures of the probe are a kernel that agrees."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pytest_qllm.regimes.kernel import LAYER_LIMIT, LOGIT_LIMIT, Difference, Figures

EXACT = Difference(6e-5, 8e-7, 0.0, 1.0)
ROUNDING = Difference(1.0, 0.08, 3.5e-4, 0.98)
# As measured: GPTQModel's kernels on SmolLM2-135M, see decisions/0004.
SOUND = Figures(
    68, 4, "float32", "float32", Difference(0.91, 0.065, 2.9e-4, 0.99), EXACT, ROUNDING, 210, 0, "q_proj", 1.2
)
WRONG = replace(SOUND, logits=Difference(43.8, 6.7, 16.1, 0.0), faulty=210, worst_layer="down_proj", worst=1e3)


def test_a_kernel_in_half_precision_agrees():
    assert SOUND.fault() == ""


def test_a_kernel_that_is_wrong_in_every_layer_disagrees():
    assert WRONG.fault() == "210 of 210 layers differ by more than rounding explains"


def test_one_wrong_layer_is_enough_whatever_the_logits():
    one = replace(SOUND, faulty=1, worst=LAYER_LIMIT * 1.01)
    assert one.fault() == "1 of 210 layers differ by more than rounding explains"


def test_wrong_logits_are_enough_whatever_the_layers():
    assert "logits differ" in replace(SOUND, logits=WRONG.logits).fault()


def test_without_layers_of_the_same_names_the_logits_tell():
    fused = {"layers": 0, "faulty": 0, "worst_layer": "", "worst": None}
    assert replace(SOUND, **fused).fault() == ""
    assert "logits differ" in replace(WRONG, **fused).fault()


def test_the_limit_of_the_logits_is_in_units_of_what_rounding_does_to_this_model():
    chaotic = replace(SOUND, logits=Difference(31, 1.3, 0.5, 0.6), rounding=Difference(59, 5.1, 5.8, 0.2))
    assert chaotic.fault() == ""  # as measured: the 2-bit model, whose layers all agree
    assert chaotic.limit == LOGIT_LIMIT * 5.1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_never_agrees(value):
    assert replace(SOUND, worst=value).fault()
    assert replace(SOUND, logits=replace(EXACT, mean=value)).fault()


def test_logits_or_layers_that_are_not_finite_disagree():
    assert replace(SOUND, logits=None).fault() == "its logits contain NaN or infinity"
    assert replace(SOUND, worst=None).fault() == "the output of q_proj contains NaN or infinity"


@pytest.mark.parametrize("figures", [SOUND, WRONG, replace(SOUND, logits=None, worst=None)])
def test_figures_cross_processes(figures):
    assert Figures.from_json(json.loads(json.dumps(figures.to_json(), allow_nan=False))) == figures
