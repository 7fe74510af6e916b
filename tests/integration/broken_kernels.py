"""A quantization library whose kernels can be broken: a user's backend, written into the user's directory."""

from __future__ import annotations

from conftest import Suite

REGIMES = """
    from pytest_qllm.regimes.regime import Regime

    def pytest_qllm_regimes():
        names = ("sound", "half", "slips", "nan", "crashes", "plain", "shadowless")
        return [
            Regime(name, "noise", 8, backend="mine.shadowless" if name == "shadowless" else "mine.kernels",
                   options={"fault": name})
            for name in names
        ]
"""

BACKEND = '''
"""Keeps the weights; its kernels multiply as the regime's name says."""

import torch
from torch import nn

from pytest_qllm.models.loader import load_dense, load_tokenizer


class Kernel(nn.Linear):
    fault = "sound"

    def forward(self, values):
        if self.fault == "crashes":
            raise RuntimeError("illegal instruction")
        if self.fault == "half":
            return nn.functional.linear(values.bfloat16(), self.weight.bfloat16()).to(values.dtype)
        return super().forward(values)


def build(regime, model, calibration, seed, into):
    load_dense(model, torch.float16, "cpu").save_pretrained(into)
    load_tokenizer(model).save_pretrained(into)
    (into / "fault").write_text(regime.options["fault"])


def load(artifact, dtype, device):
    fault = (artifact / "fault").read_text()
    model = load_dense(artifact, dtype, device)
    layers = [layer for name, layer in model.named_modules() if type(layer) is nn.Linear and name != "lm_head"]
    for layer in layers if fault != "plain" else ():
        layer.__class__ = Kernel
        layer.fault = fault
    if fault == "slips":  # one channel of one layer
        layers[-1].weight.data[5] = layers[-1].weight.data[6]
    if fault == "nan":
        layers[0].weight.data[0, 0] = float("nan")
    return model
'''

DENSE = """

def dense(artifact, dtype, device):
    return load_dense(artifact, dtype, device)
"""


def add_kernels(suite: Suite) -> None:
    """A conftest that adds the regimes, and a suite with ``test_kernel``."""
    suite.pytester.makeconftest(REGIMES)
    package = suite.pytester.mkpydir("mine")
    (package / "kernels.py").write_text(BACKEND + DENSE)
    (package / "shadowless.py").write_text(BACKEND)
    suite.pytester.makepyfile(test_kernels="def test_kernel(gate):\n    gate.kernel()\n")
