"""Figures, as plotly describes them. Colours of text and grid are the stylesheet's, so that they follow its theme."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pytest_qllm.report.html.signs import SIGNS, change_of, sign_of, typeset
from pytest_qllm.report.html.view import interval_of
from pytest_qllm.report.record import Record

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLORS = {
    "pass": "#2a9361",
    "fail": "#d4483b",
    "open": "#c08a12",
    "known": "#8a6fc9",
    "none": "#8b8f98",
    "base": "#5b7fae",
}
"""By class of a sign; each reads on white and on black. Markers differ as well."""

_MARKERS = {"base": "star", **{sign.kind: sign.marker for sign in reversed(SIGNS.values()) if sign.kind != "base"}}
_ROW = 30
_DECADES, _NARROW = 100.0, 2.0
_MARGIN = {"l": 8, "r": 16, "t": 8, "b": 44}


@dataclass(frozen=True)
class Plot:
    """A figure, what it shows in a sentence, and its content as a table."""

    name: str
    title: str
    says: str
    spec: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def forest(benchmark: str, records: Sequence[Record]) -> Plot | None:
    """Effects of the regimes on a benchmark, with intervals and tolerances; None where there are none."""
    drawn = [record for record in records if record.effect is not None and record.ci is not None]
    if not drawn:
        return None
    import plotly.graph_objects as go

    ratio = drawn[0].is_ratio
    factor = 1.0 if ratio else 100.0
    figure = go.Figure(layout_template="none")
    names = [_name(record, drawn) for record in drawn]
    for name, record in zip(names, drawn, strict=True):
        assert record.effect is not None
        assert record.ci is not None
        low, high = record.ci
        sign = sign_of(record)
        color = COLORS[sign.kind]
        center = factor * record.effect
        # A side without a bound is drawn to the edge of what the others show.
        figure.add_trace(
            go.Scatter(
                x=[center],
                y=[name],
                mode="markers",
                marker={"symbol": sign.marker, "size": 11, "color": color, "line": {"width": 2, "color": color}},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [0 if high is None else factor * high - center],
                    "arrayminus": [0 if low is None else center - factor * low],
                    "color": color,
                    "thickness": 2,
                    "width": 5,
                },
                hovertemplate=(
                    f"{escape(record.regime)}: {sign.word}<br>{change_of(record, record.effect)}, "
                    f"{interval_of(record)}<br>tolerance {record.amount(record.tolerance or 0.0)}"
                    f"<br>{record.n} items<extra></extra>"
                ),
            )
        )
    allowed = [(record.tolerance or 0.0) if ratio else -(record.tolerance or 0.0) for record in drawn]
    figure.add_trace(
        go.Scatter(
            x=[factor * value for value in allowed],
            y=names,
            mode="markers",
            marker={"symbol": "line-ns", "size": 20, "line": {"width": 2, "color": COLORS["base"]}},
            hovertemplate="%{y}: tolerance<extra></extra>",
        )
    )
    unit = "times the baseline's perplexity" if drawn[0].metric == "perplexity" else "times the baseline"
    set_axes(figure, len(drawn), f"{unit} (log)" if ratio else "points against the baseline")
    scale(figure, [value for record in drawn for value in (record.effect, *(record.ci or ())) if value], log=ratio)
    figure.add_vline(x=1 if ratio else 0, line={"width": 1, "color": COLORS["none"]})
    figure.update_yaxes(autorange="reversed")
    return Plot(
        f"forest-{benchmark}",
        benchmark,
        "Effect of each regime with its interval; the upright stroke is the tolerance, the thin line no change.",
        spec(figure),
        ("regime", "verdict", "effect", "interval", "tolerance", "items"),
        [
            (
                name,
                sign_of(record).word,
                change_of(record, record.effect),
                interval_of(record),
                change_of(record, value),
                str(record.n),
            )
            for name, record, value in zip(names, drawn, allowed, strict=True)
        ],
    )


def flips(records: Sequence[Record]) -> Plot | None:
    """Answers broken and mended, as shares of the items, for each regime and benchmark."""
    drawn = [record for record in records if record.broken is not None and record.mended is not None]
    if not drawn:
        return None
    import plotly.graph_objects as go

    names = [f"{record.regime} · {record.benchmark}" for record in drawn]
    figure = go.Figure(layout_template="none")
    sides = (("broken", -1, COLORS["fail"], ""), ("mended", 1, COLORS["base"], "/"))
    for side, way, color, pattern in sides:
        counts = [int(getattr(record, side)) for record in drawn]
        figure.add_trace(
            go.Bar(
                name=side,
                orientation="h",
                x=[100 * way * count / record.n for count, record in zip(counts, drawn, strict=True)],
                y=[escape(name) for name in names],
                text=[str(count) for count in counts],
                textposition="outside",
                cliponaxis=False,
                marker={"color": color, "pattern": {"shape": pattern, "fillmode": "replace", "fgcolor": color}},
                hovertemplate=f"%{{y}}: %{{text}} {side} (%{{x:.1f}} % of the items)<extra></extra>",
            )
        )
    set_axes(figure, len(drawn), "% of the items: broken to the left, mended to the right")
    figure.update_layout(barmode="relative", bargap=0.35)
    least, most = (max(int(getattr(one, side)) / one.n for one in drawn) for side in ("broken", "mended"))
    room = 12 * (least + most)  # for the counts beside the bars
    figure.update_xaxes(range=[-100 * least - room, 100 * most + room])
    figure.update_yaxes(autorange="reversed")
    return Plot(
        "flips",
        "Flips",
        "Answers that were right in the baseline and are wrong now (left), and the reverse (right).",
        spec(figure),
        ("regime", "benchmark", "broken", "mended", "items"),
        [(one.regime, one.benchmark, str(one.broken), str(one.mended), str(one.n)) for one in drawn],
    )


def divergence(records: Sequence[Record]) -> Plot | None:
    """KL divergence from the baseline at each position: mean and percentiles, on a log axis."""
    drawn = [(record, record.fidelity) for record in records if record.fidelity is not None]
    if not drawn:
        return None
    import plotly.graph_objects as go

    figure = go.Figure(layout_template="none")
    marks = (("50", "line-ns-open", "median"), ("mean", "diamond", "mean"), ("99", "circle-open", "99 % of positions"))
    names = [escape(f"{record.regime} · {record.benchmark}") for record, _ in drawn]
    least = 1e-9  # of a log axis; a regime that changes nothing has a divergence of 0
    for key, symbol, word in marks:
        values = [
            max(fidelity["kl_mean"] if key == "mean" else fidelity["kl_percentiles"][key], least)
            for _, fidelity in drawn
        ]
        figure.add_trace(
            go.Scatter(
                name=word,
                x=values,
                y=names,
                mode="markers",
                marker={"symbol": symbol, "size": 11, "color": COLORS["base"], "line": {"width": 2}},
                hovertemplate=f"%{{y}}: {word} %{{x:.3g}} nats<extra></extra>",
            )
        )
    set_axes(figure, len(drawn) + 1, "nats (log)")
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_xaxes(type="log")
    figure.update_yaxes(autorange="reversed")
    return Plot(
        "divergence",
        "KL divergence from the baseline",
        "How far the distribution of the next token is from the baseline's, over all positions of the texts.",
        spec(figure),
        ("regime", "texts", "KL mean", "median", "99 %", "largest", "same top token", "Δp mean", "Δp RMS", "positions"),
        [
            (
                record.regime,
                record.benchmark,
                _measured(fidelity["kl_mean"], fidelity["kl_mean_se"]),
                f"{fidelity['kl_percentiles']['50']:.3g}",
                f"{fidelity['kl_percentiles']['99']:.3g}",
                f"{fidelity['kl_max']:.3g}",
                f"{100 * fidelity['same_top']:.1f} %",
                typeset(f"{100 * fidelity['delta_p_mean']:+.2f} %"),
                f"{100 * fidelity['delta_p_rms']:.1f} %",
                str(fidelity["tokens"]),
            )
            for record, fidelity in drawn
        ],
    )


def scatter(
    name: str,
    title: str,
    says: str,
    points: Sequence[tuple[str, float, float, str]],
    axes: tuple[str, str],
    *,
    log: bool = False,
    log_y: bool = False,
    front: Sequence[tuple[float, float]] = (),
) -> Plot:
    """Named points of a class each; ``front`` joins those that nothing beats."""
    import plotly.graph_objects as go

    figure = go.Figure(layout_template="none")
    if front:
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in front],
                y=[y for _, y in front],
                mode="lines",
                line={"shape": "hv", "dash": "dot", "width": 1.5, "color": COLORS["base"]},
                hoverinfo="skip",
            )
        )
    on_front = set(front)
    figure.add_trace(
        go.Scatter(
            x=[x for _, x, _, _ in points],
            y=[y for _, _, y, _ in points],
            text=[escape(label) for label, _, _, _ in points],
            mode="markers+text",
            textposition=_beside([x for _, x, _, _ in points]),
            cliponaxis=False,
            marker={
                "size": 11,
                "symbol": [_MARKERS[kind] for _, _, _, kind in points],
                "line": {"width": 2, "color": [COLORS[kind] for _, _, _, kind in points]},
                "color": [COLORS[kind] for _, _, _, kind in points],
            },
            hovertemplate=f"%{{text}}<br>{escape(axes[0])}: %{{x:.4g}}<br>{escape(axes[1])}: %{{y:.4g}}<extra></extra>",
        )
    )
    set_axes(figure, 8, axes[0])
    figure.update_layout(margin={**_MARGIN, "l": 56, "t": 24})
    scale(figure, [x for _, x, _, _ in points], log=log)
    figure.update_yaxes(title={"text": axes[1], "standoff": 6}, automargin=True, type="log" if log_y else "linear")
    rows = [
        (label, f"{x:.4g}", f"{y:.4g}", *(["yes" if (x, y) in on_front else ""] * bool(front)))
        for label, x, y, _ in points
    ]
    columns = ("regime", *axes, *(["on the front"] * bool(front)))
    return Plot(name, title, says, spec(figure), columns, rows)


def scale(figure: Figure, values: Sequence[float], *, log: bool) -> None:
    """A log axis over less than two decades has ticks at 1, 2 and 5."""
    figure.update_xaxes(type="log" if log else "linear")
    if log and max(values) / min(values) < _DECADES:
        figure.update_xaxes(dtick="D2" if max(values) / min(values) > _NARROW else None)


def _beside(places: Sequence[float]) -> list[str]:
    """Where each label stands: neighbours take turns, so that close ones do not cover each other."""
    turns = ("top center", "bottom center", "middle right", "middle left")
    order = {at: rank for rank, at in enumerate(sorted(range(len(places)), key=lambda at: places[at]))}
    return [turns[order[at] % len(turns)] for at in range(len(places))]


def set_axes(figure: Figure, rows: int, title: str) -> None:
    """Room for so many rows, and the title of the horizontal axis."""
    figure.update_layout(
        height=rows * _ROW + _MARGIN["t"] + _MARGIN["b"] + 12,
        margin=_MARGIN,
        showlegend=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"align": "left"},
        dragmode=False,
    )
    figure.update_xaxes(title={"text": title, "standoff": 4}, fixedrange=True, zeroline=False, showgrid=True)
    figure.update_yaxes(fixedrange=True, automargin=True, zeroline=False, showgrid=True)


def spec(figure: Figure) -> dict[str, Any]:
    """What the page draws it from."""
    content = json.loads(figure.to_json())
    return {"data": content["data"], "layout": content["layout"]}


def _name(record: Record, among: Sequence[Record]) -> str:
    """The regime, and the metric where several are drawn."""
    several = len({one.metric for one in among}) > 1
    return escape(f"{record.regime} · {record.metric}" if several else record.regime)


def _measured(value: float, error: float | None) -> str:
    return f"{value:.3g}" if error is None else f"{value:.3g} ± {error:.1g}"
