"""What ``test_kernel`` tells the session: the probe's figures of one regime, plain JSON content between processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_qllm.regimes.kernel import LAYER_LIMIT, Difference, Figures


@dataclass(frozen=True)
class KernelRecord:
    """Whether a regime's kernel computes what its weights say, with the evidence; see docs/reference/qllm-json.md."""

    model: str
    regime: str
    method: str
    bits: int
    figures: Figures
    provenance: Mapping[str, Any] = field(default_factory=dict)
    rerun: str = ""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> KernelRecord:
        names = ("model", "regime", "method", "bits", "provenance")
        return cls(
            figures=Figures.from_json(content["figures"]),
            rerun=content.get("rerun", ""),  # not there before it was told
            **{name: content[name] for name in names},
        )

    def to_json(self) -> dict[str, Any]:
        content = asdict(self)
        return {
            **content,
            "agrees": self.agrees,
            "reason": self.reason,
            "limits": {"logits_mean": self.figures.limit, "layer": LAYER_LIMIT},
        }

    @property
    def reason(self) -> str:
        """What is wrong, or nothing."""
        return self.figures.fault()

    @property
    def agrees(self) -> bool:
        return not self.reason

    def line(self) -> str:
        """One line of the summary."""
        figures = self.figures
        verdict = "agrees" if self.agrees else "DISAGREES"
        parts = [f"logits {_extent(figures.logits)}", f"noise floor {_extent(figures.noise)}"]
        if figures.layers:
            parts.insert(1, f"worst layer {_units(figures.worst)} (limit {LAYER_LIMIT:g})")
        return f"kernel {self.regime} {verdict}: {'; '.join(parts)}"

    def message(self, rerun: str) -> str:
        """What the failed test says; reads at once."""
        figures = self.figures
        library = str(self.provenance.get("regime", {}).get("library") or "the library")
        rows = [
            (
                "compared",
                f"{library}'s kernel in {figures.kernel_dtype} with the same weights as plain matrices in "
                f"{figures.dtype}: {figures.tokens} tokens of {figures.texts} texts",
            ),
            ("logits", _described(figures.logits)),
            (
                "limit",
                f"mean {figures.limit:.2g}: a rounding to bfloat16 in every layer explains a mean of "
                f"{figures.rounding.mean:.2g}",
            ),
            ("noise floor", f"{_extent(figures.noise)} (the same rows, batched otherwise)"),
            ("layers", self._layers()),
            (
                "what to do",
                f"choose another kernel or dtype of {library}. Verdicts on {self.regime}'s plain matrices (kernels: "
                "dense) do not hold for this kernel; --qllm-exact-kernels scores it",
            ),
            ("rerun", rerun),
        ]
        subject = f"KERNEL DISAGREES: {self.regime} ({self.method}, {self.bits} bits) of {self.model}: {self.reason}"
        return "\n".join([subject, *(f"  {name:<11} {text}" for name, text in rows if text)])

    def _layers(self) -> str:
        figures = self.figures
        if not figures.layers:
            return "none has the same name in both models; the logits tell alone"
        return (
            f"{figures.faulty} of {figures.layers} above {LAYER_LIMIT:g} rounding units; worst {figures.worst_layer}: "
            f"{_units(figures.worst)}"
        )


def _extent(difference: Difference | None) -> str:
    return "not finite" if difference is None else f"max {difference.max:.2g}, mean {difference.mean:.2g}"


def _described(difference: Difference | None) -> str:
    if difference is None:
        return "NaN or infinity among them"
    return f"{_extent(difference)}; mean KL {difference.kl:.2g} nats, same top token {100 * difference.agreement:.1f} %"


def _units(worst: float | None) -> str:
    return "not finite" if worst is None else f"{worst:.2g} units"
