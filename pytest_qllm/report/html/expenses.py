"""The figure of what regimes cost: one glance tells what is slower or larger than the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pytest_qllm.report.costs import way
from pytest_qllm.report.html.plots import COLORS, Plot, scale, set_axes, spec
from pytest_qllm.report.html.signs import change_of
from pytest_qllm.report.html.view import interval_of
from pytest_qllm.report.record import Record

_SIGNS = {
    "slower": ("fail", "triangle-right"),
    "larger": ("fail", "triangle-right"),
    "faster": ("pass", "triangle-left"),
    "smaller": ("pass", "triangle-left"),
    "": ("none", "circle-open"),
}
"""Colour and marker by the way that a cost goes; the colour is never the only sign."""


def costs(records: Sequence[Record]) -> Plot | None:
    """Ratios of all costs with their limits, on a log axis around no change; None where there are none."""
    drawn = [record for record in records if record.effect is not None and record.ci is not None]
    if not drawn:
        return None
    import plotly.graph_objects as go

    figure = go.Figure(layout_template="none")
    names = [escape(f"{record.regime} · {record.benchmark}") for record in drawn]
    for name, record in zip(names, drawn, strict=True):
        assert record.effect is not None
        assert record.ci is not None
        low, high = record.ci
        kind, marker = _SIGNS[way(record)]
        figure.add_trace(
            go.Scatter(
                x=[record.effect],
                y=[name],
                mode="markers",
                marker={"symbol": marker, "size": 12, "color": COLORS[kind], "line": {"width": 2}},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [0 if high is None else high - record.effect],
                    "arrayminus": [0 if low is None else record.effect - low],
                    "color": COLORS[kind],
                    "thickness": 2,
                    "width": 5,
                },
                hovertemplate=(
                    f"{name}: {change_of(record, record.effect)} {way(record)}<br>{interval_of(record)}<br>"
                    f"{record.score(record.baseline)} to {record.score(record.candidate or 0.0)}<extra></extra>"
                ),
            )
        )
    set_axes(figure, len(drawn), "times the baseline\N{RIGHT SINGLE QUOTATION MARK}s cost (log): less to the left")
    scale(figure, [value for record in drawn for value in (record.effect, *(record.ci or ())) if value], log=True)
    figure.add_vline(x=1, line={"width": 1, "color": COLORS["none"]})
    figure.update_yaxes(autorange="reversed")
    return Plot(
        "costs",
        "What each regime costs",
        "Each cost as a ratio to the baseline\N{RIGHT SINGLE QUOTATION MARK}s with its limits; right of the line "
        "a regime is slower or larger.",
        spec(figure),
        ("regime", "cost", "ratio", "interval", "way"),
        [
            (record.regime, record.benchmark, change_of(record, record.effect), interval_of(record), way(record))
            for record in drawn
        ],
    )
