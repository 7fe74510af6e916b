"""The page itself: templates, with escaping on, filled with what the other modules made of a report."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.efficiency.costs import DIMENSION
from pytest_qllm.report.costs import slower, way
from pytest_qllm.report.family import lines
from pytest_qllm.report.html import evidence, packs, planes, plots
from pytest_qllm.report.html.expenses import costs as plot_of_costs
from pytest_qllm.report.html.signs import SIGNS, change_of, sign_of, typeset
from pytest_qllm.report.html.view import View, interval_of
from pytest_qllm.report.reader import Report
from pytest_qllm.report.record import Record

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE = Path(__file__).parent
_SCRIPTS = ("app.js", "items.js")


def render(report: Report) -> str:
    """The whole file."""
    from markupsafe import Markup

    view = View(report)
    qualities = [name for name in view.benchmarks if name not in view.dimensions.get(DIMENSION, ())]
    forests = {name: plot for name in qualities if (plot := plots.forest(name, view.of(name))) is not None}
    judged = [record for name in qualities for record in view.of(name)]
    expenses = [record for name in view.dimensions.get(DIMENSION, ()) for record in view.of(name)]
    saved = plot_of_costs(expenses)
    memory, tells = planes.memory(view), planes.perplexities(view)
    fidelity = [plot for plot in (plots.flips(judged), plots.divergence(judged)) if plot is not None]
    items, lacking = packs.available(report)
    drawn = [
        *forests.values(),
        *([saved] if saved is not None else []),
        *memory,
        *fidelity,
        *(one.plot for one in tells if one.plot is not None),
    ]
    content = {
        "view": view,
        "lead": _lead(view),
        "lines": _lines(report, lacking),
        "legend": [sign for name, sign in SIGNS.items() if name is not None and _is_used(view, sign.word)],
        "errors": [(error.test, error.regime, error.message) for error in report.errors],
        "forests": list(forests.values()),
        "pooled": _pooled(report),
        "forest_of": forests,
        "memory": memory,
        "efficiency": _efficiency(expenses),
        "slower": list(slower(expenses)),
        "costs": saved,
        "fidelity": fidelity,
        "tells": tells,
        "kernels": sorted(report.kernels, key=lambda kernel: kernel.agrees),
        "session": evidence.provenance(report.provenance),
        "time": str(report.provenance.get("time", "")).replace("T", " "),
        "versions": report.provenance.get("versions", {}),
        "figures": {plot.name: plot.spec for plot in drawn},
        "packs": {**items, **({"plotly": packs.packed_plotly()} if drawn else {})},
        "explored": packs.explored(items, report),
    }
    content["sections"] = _sections(content)
    content["style"] = Markup((_HERE / "static/style.css").read_text())
    content["script"] = Markup(_script())
    content["policy"] = _policy([_script(), *([packs.plotly()] if drawn else [])])
    return str(_environment().get_template("page.html.j2").render(content))


def _script() -> str:
    return "\n".join((_HERE / "static" / name).read_text() for name in _SCRIPTS)


@cache
def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _policy(scripts: Sequence[str]) -> str:
    """Nothing but these very scripts runs, and nothing is fetched: a planted script is refused by the browser too.

    Styles may stand inline, since plotly sets them.
    """
    allowed = " ".join(f"'sha256-{_hash(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        evidence=evidence.evidence,
        reading=evidence.reading,
        provenance=evidence.provenance,
        interval_of=interval_of,
        sign_of=sign_of,
        change_of=change_of,
        told=planes.told,
    )
    return environment


def _lead(view: View) -> str:
    """The answer in a sentence or two."""
    answers = [(row.regime, row.answer) for row in view.rows if row.answer is not None]
    if not answers:
        return "Only the baseline was measured; no regime was judged."
    parts = []
    for word, text in (
        ("Yes", "may ship"),
        ("No", "may not"),
        ("Undecided", "undecided"),
    ):
        names = [name for name, answer in answers if answer.word == word]
        if names:
            parts.append(f"{text}: {', '.join(names)}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _lines(report: Report, lacking: str) -> list[str]:
    """What the session says together, and what is not there to be shown; pooled effects have a table."""
    pooled = {row.line() for row in report.pooled}
    said = [line for line in lines(report.verdicts, report.alpha) if line not in pooled]
    return [f"{line[:1].upper()}{line[1:]}." for line in (*said, *([f"no single items: {lacking}"] if lacking else []))]


def _pooled(report: Report) -> list[tuple[str, ...]]:
    def points(value: float) -> str:
        return typeset(f"{100 * value:+.1f}")

    return [
        (row.regime, row.dimension, ", ".join(row.benchmarks), points(row.effect), " to ".join(map(points, row.ci)))
        for row in report.pooled
    ]


def _is_used(view: View, word: str) -> bool:
    return any(cell.sign.word == word for cell in view.cells.values())


def _efficiency(expenses: Sequence[Record]) -> list[tuple[str, ...]]:
    """Costs as ratios, where a session measured some."""
    return [
        (
            record.regime,
            record.benchmark,
            record.score(record.baseline),
            "" if record.candidate is None else record.score(record.candidate),
            change_of(record, record.effect),
            interval_of(record),
            way(record),
            sign_of(record).word,
        )
        for record in expenses
    ]


def _sections(content: dict[str, Any]) -> list[tuple[str, str]]:
    names = {
        "verdicts": "Verdicts",
        "errors": "Errors",
        "effects": "Effects",
        "memory": "Memory",
        "efficiency": "Efficiency",
        "fidelity": "Divergence and flips",
        "perplexity": "Perplexity",
        "kernels": "Kernels",
        "session": "Session",
    }
    filled = {"effects": "forests", "perplexity": "tells"}
    always = ("verdicts", "session")
    return [(name, title) for name, title in names.items() if name in always or content[filled.get(name, name)]]
