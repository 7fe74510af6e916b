"""What is said of a kernel."""

from __future__ import annotations

import json
from dataclasses import replace

from pytest_qllm.regimes.kernel import Difference, Figures
from pytest_qllm.report.json import document
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.terminal import summary

SOUND = KernelRecord(
    "m",
    "gptq-4bit",
    "GPTQ",
    4,
    Figures(
        68,
        4,
        "float32",
        "float16",
        Difference(0.913, 0.0651, 2.9e-4, 0.99),
        Difference(6e-5, 8e-7, 0.0, 1.0),
        Difference(1.0, 0.08, 3.5e-4, 0.98),
        210,
        0,
        "model.layers.11.mlp.down_proj",
        1.2,
    ),
    {"regime": {"library": "gptqmodel"}},
)
WRONG = replace(
    SOUND,
    figures=replace(SOUND.figures, logits=Difference(43.8, 6.7, 16.1, 0.0), faulty=209, worst=1234.5),
)


def test_a_line_of_the_summary():
    assert SOUND.line() == (
        "kernel gptq-4bit agrees: logits max 0.91, mean 0.065; worst layer 1.2 units (limit 5); "
        "noise floor max 6e-05, mean 8e-07"
    )
    assert WRONG.line().startswith("kernel gptq-4bit DISAGREES: logits max 44, mean 6.7; worst layer 1.2e+03 units")


def test_a_failed_test_says_what_was_compared_and_what_to_do():
    assert WRONG.message("pytest x").splitlines() == [
        "KERNEL DISAGREES: gptq-4bit (GPTQ, 4 bits) of m: 209 of 210 layers differ by more than rounding explains",
        "  compared    gptqmodel's kernel in float16 with the same weights as plain matrices in float32: 68 tokens of "
        "4 texts",
        "  logits      max 44, mean 6.7; mean KL 16 nats, same top token 0.0 %",
        "  limit       mean 0.32: a rounding to bfloat16 in every layer explains a mean of 0.08",
        "  noise floor max 6e-05, mean 8e-07 (the same rows, batched otherwise)",
        "  layers      209 of 210 above 5 rounding units; worst model.layers.11.mlp.down_proj: 1.2e+03 units",
        "  what to do  choose another kernel or dtype of gptqmodel. Verdicts on gptq-4bit's plain matrices (kernels: "
        "dense) do not hold for this kernel; --qllm-exact-kernels scores it",
        "  rerun       pytest x",
    ]


def test_what_is_not_finite_is_said_so():
    broken = replace(SOUND, figures=replace(SOUND.figures, logits=None, worst=None))
    assert not broken.agrees
    assert "logits not finite; worst layer not finite" in broken.line()
    assert "logits      NaN or infinity among them" in broken.message("")


def test_it_crosses_processes():
    assert KernelRecord.from_json(json.loads(json.dumps(WRONG.to_json(), allow_nan=False))) == WRONG


def test_the_report_has_it_with_its_verdict_and_limits():
    content = document([], [], {}, [WRONG.to_json(), replace(SOUND, regime="bnb-nf4").to_json()])
    first, second = content["kernels"]
    assert (first["regime"], first["agrees"], first["reason"]) == ("bnb-nf4", True, "")
    assert (second["regime"], second["agrees"]) == ("gptq-4bit", False)
    assert second["limits"] == {"logits_mean": 0.32, "layer": 5.0}
    assert second["figures"]["noise"]["max"] == 6e-5


def test_the_summary_has_a_line_for_each_those_that_disagree_first():
    kernels = [replace(SOUND, regime="bnb-nf4"), WRONG, replace(SOUND, regime="fp4")]
    printed = [span for (span, *_) in summary([], [], ("fp16", "fp4", "bnb-nf4", "gptq-4bit"), 80, kernels)]
    heads = [(" ".join(text.split()[1:3]), markup) for text, markup in printed if text.startswith("kernel ")]
    assert heads == [
        ("gptq-4bit DISAGREES:", {"red": True}),
        ("fp4 agrees:", {"green": True}),
        ("bnb-nf4 agrees:", {"green": True}),
    ]


def test_many_kernels_that_agree_are_cut_and_none_that_disagrees():
    regimes = [f"r{at}" for at in range(20)]
    wrong = [replace(WRONG, regime=name) for name in regimes[8:]]
    kernels = [replace(SOUND, regime=name) for name in regimes[:8]] + wrong
    texts = ["".join(text for text, _ in spans) for spans in summary([], [], regimes, 80, kernels, where="there")]
    assert len([text for text in texts if "DISAGREES" in text]) == 12
    assert not any(" agrees" in text for text in texts)
    assert "... and 8 more in there" in texts
