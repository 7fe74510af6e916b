"""A sheet from a CSV of scores, such as the tables of a paper: one line a model and regime, one column a benchmark."""

from __future__ import annotations

import csv
from math import isfinite
from pathlib import Path

from pytest_qllm.analysis.sheet import Cell, Column, Row, Sheet
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.kinds import Kind

_ABOUT = ("model", "regime", "method", "bits", "bytes", "memory_gb", "decode_tok_s")
"""Columns that describe a line and are no benchmarks."""
_PERPLEXITIES = ("ppl", "perplexity")
_FULL = 16


def read(path: Path) -> Sheet:
    """The scores of a CSV file.

    ``model`` and ``bits`` are needed, with 16 bits for the baseline; ``regime`` (or ``method``, which is followed by
    the bits), ``memory_gb`` or ``bytes`` are known; ``decode_tok_s`` is passed over. Every other column is a benchmark,
    and a perplexity if its name begins with ``ppl`` or ends with ``perplexity``. An empty cell was not measured.

    Raises:
        QllmError: if the file cannot be read or is no such table; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lines, names = list(reader), [name or "" for name in reader.fieldnames or ()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QllmError(
            f"{path} cannot be read as CSV ({error}); expected columns model, bits and one a benchmark"
        ) from error
    benchmarks = [name for name in names if name not in _ABOUT]
    if "model" not in names or "bits" not in names or not benchmarks or not lines:
        raise QllmError(
            f"{path} has the columns {', '.join(names) or 'none'} and {len(lines)} lines; expected model, bits and one "
            "for each benchmark, and a line for each model and regime"
        )
    found = [(_row(line, at, path), line) for at, line in enumerate(lines, 2)]
    models = [row.model for row, _ in found]
    found.sort(key=lambda one: (models.index(one[0].model), -one[0].bits))
    rows = tuple(row for row, _ in found)
    twice = [row.name for at, row in enumerate(rows) if row.name in [other.name for other in rows[:at]]]
    if twice:
        raise QllmError(f"{path} has {twice[0]} twice; each model and regime may have one line")
    cells = {
        (at, place): Cell(_number(line[name], name, row.name, path))
        for at, (row, line) in enumerate(found)
        for place, name in enumerate(benchmarks)
        if (line[name] or "").strip()
    }
    return Sheet(rows, tuple(map(_column, benchmarks)), cells, str(path))


def _row(line: dict[str, str], at: int, path: Path) -> Row:
    place = f"line {at}"
    bits = _number(line["bits"], "bits", place, path)
    if bits != int(bits) or not 1 <= bits <= _FULL:
        raise QllmError(f"{path}, {place}: bits is {line['bits']!r}; expected a width from 1 to {_FULL}")
    method = line.get("method") or ""
    is_baseline = int(bits) == _FULL
    regime = line.get("regime") or ("fp16" if is_baseline else f"{method}-{int(bits)}bit".lstrip("-"))
    size = None
    for name, unit in (("bytes", 1.0), ("memory_gb", 1e9)):
        if (line.get(name) or "").strip():
            size = unit * _number(line[name], name, place, path)
    return Row(line["model"], regime, method, int(bits), size, is_baseline)


def _column(name: str) -> Column:
    is_perplexity = name.startswith(_PERPLEXITIES) or name.endswith(_PERPLEXITIES)
    return Column(name, metric=name, kind=Kind.PERPLEXITY if is_perplexity else None)


def _number(text: str, name: str, place: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise QllmError(f"{path}, {place}: {name} is {text!r}; expected a number, or nothing where it was not measured")
    return value
