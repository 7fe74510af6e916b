"""What JUnit XML says of a test: a few scalar properties, as strings, so that every reader shows the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Properties = list[tuple[str, str]]

_NAMES = {"outcome": "verdict"}
_SHOWN = (
    "model", "regime", "benchmark", "metric", "outcome", "baseline", "candidate", "effect", "tolerance", "n", "reason",
)  # fmt: skip


def properties(record: Mapping[str, Any]) -> Properties:
    """Of a record's JSON content; what it does not have (a bound that is infinite, say) is left out."""
    values = {_NAMES.get(name, name): record.get(name) for name in _SHOWN}
    values["ci_low"], values["ci_high"] = record.get("ci") or (None, None)
    expected = record.get("expected")
    values["expected"] = None if expected is None else expected["outcome"]
    return _told(values)


def kernel_properties(kernel: Mapping[str, Any]) -> Properties:
    """Of a kernel record's JSON content."""
    figures, logits = kernel["figures"], kernel["figures"]["logits"] or {}
    return _told(
        {
            "model": kernel["model"],
            "regime": kernel["regime"],
            "kernel": "agrees" if kernel["agrees"] else "disagrees",
            "kernel_max": logits.get("max"),
            "kernel_mean": logits.get("mean"),
            "kernel_noise_max": figures["noise"]["max"],
            "kernel_noise_mean": figures["noise"]["mean"],
            "kernel_worst_layer": figures["worst"],
        }
    )


def _told(values: Mapping[str, object]) -> Properties:
    return [(f"qllm.{name}", str(value)) for name, value in values.items() if value is not None and value != ""]
