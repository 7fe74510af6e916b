"""The table of --qllm-plan, and plan.json: plans in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.plan import Plan
from pytest_qllm.report.style import Span

SCHEMA = "pytest-qllm-plan/1"

_HEAD = ("benchmark", "regime", "allowed", "items", "needed", "seen", "failed", "decides", "tokens", "minutes")
_YELLOW = {"yellow": True}


def lines(plans: Sequence[Plan], errors: Sequence[Mapping[str, str]], regimes: Sequence[str]) -> Iterator[Span]:
    """Lines with their markup, as pytest's terminal writer takes them."""
    plans = in_order(plans, regimes)
    if plans:
        yield from _table([_HEAD, *map(_row, plans)], plans)
        yield "", {}
        yield from ((line, {}) for line in _legend(plans))
        yield "", {}
        yield from ((line, {"bold": True}) for line in _total(plans))
    for error in errors:
        yield f"ERROR {error['test']}: {error['message']}", {"red": True}
    for plan in plans:
        if plan.undecided():
            yield plan.undecided(), _YELLOW


def in_order(plans: Sequence[Plan], regimes: Sequence[str]) -> list[Plan]:
    """By benchmark, and within it as the regimes were named; under xdist they come in as workers end."""
    return sorted(plans, key=lambda plan: (plan.benchmark, regimes.index(plan.regime), plan.planned))


def write(
    path: Path, plans: Sequence[Plan], errors: Sequence[Mapping[str, str]], provenance: Mapping[str, Any]
) -> None:
    """Write plan.json.

    Raises:
        QllmError: if the directory cannot be written.
    """
    content = {
        "schema": SCHEMA,
        "provenance": dict(provenance),
        "plans": [{**plan.to_json(), "undecided": plan.undecided()} for plan in plans],
        "errors": list(errors),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    except OSError as error:
        raise QllmError(f"cannot write {path}: {error.strerror}; choose another --qllm-report") from error


def _table(rows: Sequence[Sequence[str]], plans: Sequence[Plan]) -> Iterator[Span]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    markups = [{"bold": True}, *(_YELLOW if plan.undecided() else {} for plan in plans)]
    for row, markup in zip(rows, markups, strict=True):
        cells = [
            text.ljust(width) if at < 2 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip(), markup


def _row(plan: Plan) -> tuple[str, ...]:
    power = plan.power
    allowed = "-"
    if plan.tolerance is not None:
        share = f"{100 * plan.tolerance:.3g} %" if plan.scale == "relative" else _points(plan.tolerance)
        allowed = f"x{plan.tolerance:.4g}" if plan.scale == "ratio" else share
    items = f"{plan.planned} of {plan.at_hand}{'?' if plan.available is None else ''}"
    decides = "-" if plan.tolerance is None else "?" if power is None and not plan.signal else ""
    decides = decides or ("no" if plan.undecided() else "yes")
    return (
        plan.benchmark,
        plan.regime,
        allowed,
        items,
        "-" if power is None or power.needed is None else str(power.needed),
        "-" if power is None else _points(power.seen),
        "-" if power is None else _points(power.failed),
        decides,
        "?" if plan.tokens is None else _count(plan.tokens),
        "?" if plan.seconds is None else f"{plan.seconds / 60:.1f}",
    )


def _legend(plans: Sequence[Plan]) -> Iterator[str]:
    yield "allowed, seen, failed: points of accuracy, or a ratio of perplexities. seen: smallest loss told from none;"
    yield "failed: smallest loss proven beyond what is allowed; both with 80 % power. needed: items for 95 % power"
    flips = {plan.bits: plan.power.flips for plan in plans if plan.power is not None}
    if flips:
        shares = ", ".join(f"{100 * flips[bits]:.0f} % at {bits} bits" for bits in sorted(flips, reverse=True))
        yield f"answers expected to flip: {shares}"
    yield "items and tokens are the most that it takes: a test that is plain earlier stops earlier"
    if any(plan.scale == "ratio" and plan.tolerance is not None for plan in plans):
        yield "power is not planned for perplexities: how much a quantized model's documents differ is not known before"
    if any(plan.scale != "ratio" and plan.tolerance is not None and plan.power is None for plan in plans):
        yield "power is planned for accuracies in points; of other scores, and shares of the baseline, it is not known"
    unknown = sorted({plan.benchmark for plan in plans if plan.power is not None and plan.signal is None})
    if unknown:
        yield f"NO_SIGNAL unknown before the baseline is measured: {', '.join(unknown)}"
    for note in dict.fromkeys(plan.note for plan in plans if plan.note):
        yield f"{note}: {', '.join(sorted({plan.benchmark for plan in plans if plan.note == note}))}"


def _total(plans: Sequence[Plan]) -> Iterator[str]:
    """What the whole selection costs; a baseline that is not selected is measured all the same."""
    known = [plan for plan in plans if plan.tokens is not None]
    tokens = sum(plan.tokens or 0 for plan in known)
    by = "by the checkpoint's tokenizer" if all(plan.counted for plan in known) else "as characters / 4"
    text = f"to compute: at most {_count(tokens)} tokens ({by})" if known else "to compute: not known"
    if known and len(known) < len(plans):
        text += f", not known for {len(plans) - len(known)} of {len(plans)} tests"
    measured = {plan.benchmark for plan in plans if plan.tolerance is None}
    lacking = sorted({plan.benchmark for plan in plans} - measured)
    yield text + (f", and the baseline's on {', '.join(lacking)}" if lacking else "")
    if not known:
        return
    seconds = [plan.seconds for plan in known if plan.seconds is not None]
    unmeasured = [plan for plan in known if plan.seconds is None]
    parts = [f"{sum(seconds) / 60:.1f} minutes on this machine"] if seconds else []
    if unmeasured:
        gflop = [plan.gflop for plan in unmeasured if plan.gflop is not None]
        work = f": {_work(sum(gflop))} GFLOP" if gflop else ""
        if seconds:
            parts = [f"{parts[0]} for {len(seconds)} tests", f"no measurement of {len(unmeasured)} tests yet{work}"]
        else:
            parts = [f"no measurement on this machine yet{work}"]
    yield f"time: {'; '.join(parts)}; fetching, quantizing and loading come on top"


def _points(value: float) -> str:
    return f"{100 * value:.1f}"


def _work(gflop: float) -> str:
    return f"{gflop:,.0f}" if gflop >= 100 else f"{gflop:.3g}"


def _count(value: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return str(value)
