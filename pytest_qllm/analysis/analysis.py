"""What can be said of a sheet: its summary, its correlations, and what its memory buys; as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from pytest_qllm.analysis.memory import Point, Rival, plane, rivals
from pytest_qllm.analysis.relations import MEAN, Relation, mean_perplexity, mean_size, relations
from pytest_qllm.analysis.sheet import Cell, Column, Sheet
from pytest_qllm.verdict.correlation import LEAST, Correlation
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.significance import LEVEL

SCHEMA = "pytest-qllm-analysis/1"


@dataclass(frozen=True)
class Analysis:
    """A sheet and what follows from it.

    Attributes:
        why_no_relations: why there is no correlation; empty where there is one.
        plane_of: benchmarks that the quality on the plane is of.
    """

    sheet: Sheet
    relations: Sequence[Relation]
    why_no_relations: str
    points: Sequence[Point]
    plane_of: Sequence[str]
    rivals: Sequence[Rival]

    @classmethod
    def of(cls, sheet: Sheet, *, logarithm: bool = False) -> Analysis:
        found = relations(sheet, logarithm=logarithm)
        points, plane_of = plane(sheet)
        return cls(sheet, found, _why_not(sheet, found), points, plane_of, rivals(sheet))

    def to_json(self) -> dict[str, Any]:
        sheet = self.sheet
        return {
            "schema": SCHEMA,
            "source": sheet.source,
            "setting": sheet.setting,
            "notes": list(sheet.notes),
            "benchmarks": [asdict(column) for column in sheet.columns],
            "rows": [
                {
                    **asdict(row),
                    "scores": {
                        sheet.columns[column].name: _cell(cell)
                        for (at, column), cell in sorted(sheet.cells.items())
                        if at == place
                    },
                }
                for place, row in enumerate(sheet.rows)
            ],
            "correlations": [_finite(asdict(one)) for one in self.relations],
            "no_correlations": self.why_no_relations,
            "plane": {"benchmarks": list(self.plane_of), "points": [asdict(one) for one in self.points]},
            "rivals": [asdict(one) for one in self.rivals],
        }


def _why_not(sheet: Sheet, found: Sequence[Relation]) -> str:
    if any(not one.reason for one in found):
        return ""
    if found:
        return f"no correlation: {found[-1].n} rows have both a perplexity and a benchmark; an interval needs {LEAST}"
    if not mean_perplexity(sheet)[1]:
        return "no correlation: no perplexity was measured"
    return "no correlation: nothing but perplexities was measured"


def _cell(cell: Cell) -> dict[str, Any]:
    change = None if cell.change is None else _finite(asdict(cell.change))
    return {"score": cell.score, "n": cell.n, "change": change, "p_holm": cell.p_holm}


def _finite(content: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a limit that is none is null."""
    return {
        name: _finite(value)
        if isinstance(value, dict)
        else None
        if isinstance(value, float) and not isfinite(value)
        else value
        for name, value in content.items()
    }


@dataclass(frozen=True)
class Table:
    """Cells of text; the first ``names`` columns are names from elsewhere, which no markup may be read in."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    names: int = 1


def tables(analysis: Analysis) -> Iterator[Table]:
    """The analysis as tables, in the order in which it reads."""
    yield _summary(analysis.sheet)
    for over in dict.fromkeys(one.over for one in analysis.relations):
        group = [one for one in analysis.relations if one.over == over]
        if any(not one.reason for one in group):
            yield _correlations(over, group)
    if analysis.points:
        yield _plane(analysis)
    if analysis.rivals:
        yield _rivals(analysis.rivals)


def _summary(sheet: Sheet) -> Table:
    rows = []
    for at, row in enumerate(sheet.rows):
        cells = [_text(sheet, at, column) for column in range(len(sheet.columns))]
        rows.append((row.name, str(row.bits), *cells))
    tests: dict[str, list[str]] = {}
    for (_, column), change in sheet.changes():
        names = tests.setdefault(change.test, [])
        if sheet.columns[column].name not in names:
            names.append(sheet.columns[column].name)
    notes = ["baselines as they score (%, or a perplexity); below each, the difference in points, or x its perplexity"]
    if any(column.kind is None for column in sheet.columns):
        notes = ["baselines as they score; below each, the difference, or x its perplexity"]
    if tests:
        notes.append(f"* two-sided p < {LEVEL}, paired on the same items; ** so after Holm's adjustment over the table")
        notes += [f"test: {test} ({', '.join(names)})" for test, names in tests.items()]
    else:
        notes.append("no marks: without the scores of single items nothing can be tested")
    early = "(n): so many items, fewer than the baseline has"
    if any("(" in cell for row in rows for cell in row[2:]):
        notes.append(early)
    header = ("model and regime", "bits", *(column.name for column in sheet.columns))
    return Table("scores, and differences from the baseline", header, tuple(rows), tuple(notes))


def _text(sheet: Sheet, row: int, column: int) -> str:
    cell, of = sheet.cells.get((row, column)), sheet.columns[column]
    if cell is None:
        return "-"
    base = sheet.baseline_of(row)
    if base is None or base == row or (base, column) not in sheet.cells:
        return _score(cell.score, of)
    baseline = sheet.cells[base, column]
    if cell.change is None:
        change = cell.score / baseline.score if of.is_ratio else cell.score - baseline.score
        return _change(change, of)
    p, p_holm = cell.change.p, cell.p_holm
    mark = "**" if p_holm is not None and p_holm < LEVEL else "*" if p is not None and p < LEVEL else ""
    fewer = f" ({cell.n})" if cell.n is not None and cell.n < (baseline.n or 0) else ""
    return f"{_change(cell.change.effect, of)}{mark}{fewer}"


def _score(value: float, column: Column) -> str:
    if column.is_ratio or column.kind in (None, Kind.MEAN):
        return f"{value:.4g}"
    return f"{100 * value:.1f}"


def _change(value: float, column: Column) -> str:
    if column.is_ratio:
        return f"x{value:.3f}" if value < 10 else f"x{value:.3g}"
    return f"{value:+.3g}" if column.kind in (None, Kind.MEAN) else f"{100 * value:+.1f}"


def _correlations(over: str, group: Sequence[Relation]) -> Table:
    several = any(one.within is not None for one in group)
    head = ("benchmark", "n", "Pearson", "p", "Holm", "Spearman", "p", "Holm", *(("within models",) if several else ()))
    rows = []
    for one in group:
        if one.reason:
            rows.append((one.benchmark, str(one.n), one.reason, *[""] * (len(head) - 3)))
            continue
        straight = (_with(one.pearson), _p(one.pearson_p), _p(one.pearson_p_holm))
        order = (_with(one.spearman), _p(one.spearman_p), _p(one.spearman_p_holm))
        rows.append((one.benchmark, str(one.n), *straight, *order, *((_with(one.within),) if several else ())))
    notes = [
        "intervals of 95 %: Pearson's by Fisher's transformation, Spearman's by Bonett and Wright; p two-sided by "
        "permutation, all orders up to 8 rows and 9,999 above (seed 0)"
    ]
    size = mean_size(group)
    if size is not None:
        notes.append(f"mean |Pearson| {size:.2f}")
    if group[0].perplexity == MEAN:
        notes[-1:] = [*notes[-1:], "mean perplexity: over every perplexity of the table"]
    if several:
        notes.append(
            "rows of one model are no independent points, and a bigger model has both the better scores and the lower "
            "perplexity; 'within models' takes each model's own means off"
        )
    rows_of = "all rows" if over == "all" else f"rows of {over}"
    return Table(f"{group[0].perplexity} against each benchmark, {rows_of}", head, tuple(rows), tuple(notes))


def _plane(analysis: Analysis) -> Table:
    rows = [
        (one.row, _bytes(one.bytes), f"{100 * one.quality:.1f}", "front" if one.on_front else "")
        for one in analysis.points
    ]
    notes = (
        f"quality: score as a share of the best FP16 model's, %, mean over {', '.join(analysis.plane_of)}",
        "front: no other row needs as little memory and is as good",
    )
    return Table("memory and quality", ("model and regime", "memory", "quality", ""), tuple(rows), notes)


def _rivals(found: Sequence[Rival]) -> Table:
    rows = []
    for one in found:
        effect = ""
        if one.effect is not None and one.low is not None and one.high is not None:
            effect = f"{100 * one.effect:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        sizes = _bytes(one.bytes), _bytes(one.smaller_bytes)
        rows.append(
            (
                one.bigger,
                one.smaller,
                *sizes,
                f"{one.better}, worse on {one.worse} of {one.benchmarks}",
                effect,
                one.standing,
            )
        )
    head = ("bigger, quantized", "smaller, FP16", "memory", "against", "better on", "points of accuracy", "")
    notes: list[str] = []
    if any(one.standing for one in found):
        notes.append(
            "points of accuracy: mean over the accuracies, each with the same weight, paired on the same items, with "
            "limits of 95 %; it beats, or is beaten, where these prove it"
        )
    return Table("a bigger quantized model in the memory of a smaller one", head, tuple(rows), tuple(notes), 2)


def _with(one: Correlation | None) -> str:
    return "on a line" if one is None else f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}{'*' if value < LEVEL else ''}"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.0f} B"
