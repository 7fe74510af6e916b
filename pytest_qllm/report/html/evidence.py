"""A cell's page in words: evidence, what is behind it, and provenance, as rows of a label and a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_qllm.report import expected as known_loss
from pytest_qllm.report.costs import basis, conditions
from pytest_qllm.report.html.signs import change_of, typeset
from pytest_qllm.report.html.view import interval_of
from pytest_qllm.report.record import Record

Rows = list[tuple[str, str]]


def reading(record: Record) -> str:
    """What the verdict means, in a sentence."""
    if record.outcome is None:
        return f"The baseline scores {record.score(record.baseline)} ({record.metric}) on {record.n} items."
    if record.outcome == "UNGATED":
        return f"Measured, and not gated: no tolerance is set for it. {record.reason}".strip()
    if record.effect is None:
        return f"{record.reason[:1].upper()}{record.reason[1:]}." if record.reason else ""
    meaning = {
        "PASS": "The loss is proven smaller than the tolerance.",
        "FAIL": "The loss is proven larger than the tolerance.",
    }
    text = meaning.get(str(record.outcome), "The loss is proven neither smaller nor larger than the tolerance.")
    if record.has_slid and record.outcome != "FAIL":
        text += " Since the previous release it is proven larger."
    return f"{text} {record.reason}".strip()


def evidence(record: Record) -> Rows:
    """What the verdict rests on."""
    return [(label, text) for label, text in _evidence(record) if text]


def _evidence(record: Record) -> Iterator[tuple[str, str]]:
    unit = "" if record.is_ratio else " points"
    metric = "" if record.is_cost else f"{record.metric} "  # a cost has its unit in the figure
    yield "baseline", f"{metric}{record.score(record.baseline)}"
    if record.candidate is not None:
        yield "candidate", f"{metric}{record.score(record.candidate)}"
    if record.effect is not None:
        yield "effect", f"{change_of(record, record.effect)}{unit}"
        sure = basis(record) if record.is_cost else f"each bound one-sided, {_confidence(record)} ({record.interval})"
        yield "interval", f"{interval_of(record)}{unit}; {sure}"
    if record.tolerance is not None:
        allowed = change_of(record, record.tolerance if record.is_ratio else -record.tolerance)
        yield "tolerance", f"{allowed}{unit}"
    yield ("measured", conditions(record)) if record.is_cost else ("items", _items(record))
    if record.broken is not None:
        yield "flips", f"{record.broken} broken (right to wrong), {record.mended} mended (wrong to right)"
    for label, value, adjusted in (
        ("p, loss too large", record.p_pass, record.p_pass_holm),
        ("p, loss allowed", record.p_fail, record.p_fail_holm),
        ("p, no loss at all", record.p_any_loss, None),
    ):
        if value is not None:
            yield label, f"{value:.3g}{'' if adjusted is None else f' (with all tests of the session: {adjusted:.3g})'}"
    if record.expected is not None:
        for label, text in known_loss.lines(record, record.expected):
            yield {"expected": "known loss", "bound": "its bound"}.get(label, label), text
    yield "power", record.undecidable
    yield "beside", record.beside_line()
    yield "limit of tokens", record.limit_line()
    yield "pooled", record.pooled_line()
    yield "fidelity", record.fidelity_line()
    if record.size and "outlier_share" in record.size:
        yield "outliers", f"{100 * record.size['outlier_share']:.2g} % of the quantized weights are kept in FP16"
    if record.noise is not None:
        yield "noise floor", _noise(record, record.noise)
    if record.trend is not None:
        for label, text in record.trend.message(record):
            yield label.strip(), text


def provenance(content: Mapping[str, Any], before: str = "") -> Rows:
    """Nested content as rows with dotted names."""
    rows: Rows = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            rows += provenance(value, f"{before}{name}.")
        elif value not in (None, "", [], ()):
            rows.append((f"{before}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return rows


def _items(record: Record) -> str:
    text = f"{record.n}{f' of {record.planned}' if record.planned and record.planned > record.n else ''}"
    if record.looks and record.looks > 1:
        text += f", judged at {record.looks} looks"
    return text + (f"; a fixed design would have needed {record.fixed}" if record.fixed else "")


def _confidence(record: Record) -> str:
    low, high = (f"{100 * (1 - alpha):.4g} %" for alpha in record.alphas or (0.05, 0.05))
    return low if low == high else f"{low} and {high}"


def _noise(record: Record, noise: Mapping[str, Any]) -> str:
    return (
        f"{typeset(record.amount(noise['floor']))} when only the batches change ({noise['items']} items asked again, "
        f"{noise['flips']} of them flipped, largest change {noise['largest']:.2g} nats)"
    )
