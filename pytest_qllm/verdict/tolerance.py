"""What a metric may lose against the baseline, by bit-width."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from pytest_qllm.efficiency.costs import BYTES, COSTS
from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.kinds import Kind

Table = Mapping[int, float | str]
"""By bits, as people write it: ``0.03``, or ``"99%"`` for a share of the baseline that has to be kept."""

# Why these: docs/explanation/tolerances.md.
DEFAULTS: Mapping[str, Table] = {
    "accuracy": {8: 0.03, 4: 0.04, 3: 0.06, 2: 0.08},
    "perplexity": {8: 1.03, 4: 1.08, 3: 1.15, 2: 1.20},
    "prob": {8: 0.025, 4: 0.035, 3: 0.05, 2: 0.07},
    "graded": {8: 0.02, 4: 0.025, 3: 0.03, 2: 0.04},
    "judged": {8: 0.05, 4: 0.06, 3: 0.08, 2: 0.10},
    "corpus": {8: 0.02, 4: 0.025, 3: 0.03, 2: 0.04},
    "bias": {8: 0.03, 4: 0.04, 3: 0.05, 2: 0.06},
    "pooled": {8: 0.015, 4: 0.02, 3: 0.03, 2: 0.04},
    "pooled_perplexity": {8: 1.015, 4: 1.04, 3: 1.075, 2: 1.10},
}

COST_DEFAULTS: Mapping[str, Table] = {
    "weight_memory": {8: 0.75, 4: 0.50, 3: 0.45, 2: 0.45},
    "disk_size": {8: 0.75, 4: 0.50, 3: 0.45, 2: 0.45},
}
"""Times and peaks have none: they depend on the machine as much as on the regime, and are measured and shown."""

POOLED = {Kind.ACCURACY: "pooled", Kind.PERPLEXITY: "pooled_perplexity"}
"""The tables of whole dimensions by what they are pooled by; their names have tables of their own too."""

WITHOUT_DEFAULT = ("soft", "mean")
"""Kinds whose scores have no common size, so that nobody but the user can say what may be lost."""

COST = {one.name: one for one in COSTS}
"""Costs have tables by their own names: what may be slower may not be larger."""

_PERPLEXITIES = ("perplexity", "pooled_perplexity")
_RANGES: Mapping[str | None, tuple[float, float]] = {
    **dict.fromkeys(_PERPLEXITIES, (1.0, 100.0)),
    "mean": (0.0, inf),
    None: (0.0, 100.0),
}
_LEAST_KEPT = 50
"""Percent. Who writes "5%" means a loss of that, and would let everything pass."""


@dataclass(frozen=True)
class Tolerance:
    """What may be lost: in the unit of its kind, or (``relative``) as a share of the baseline's own score."""

    value: float
    relative: bool = False

    @property
    def written(self) -> float | str:
        """As it is written in a table."""
        return f"{100 * (1 - self.value):.10g}%" if self.relative else self.value


@dataclass(frozen=True)
class Tolerances:
    """Tables by kind of metric or by benchmark, each from bits to what may be lost.

    The tolerance of an ``accuracy`` is a difference of proportions (0.03: three points), that of a ``prob`` a
    difference of mean probabilities, that of a ``perplexity`` the largest ratio to the baseline (1.02: two percent
    more), that of a ``bias`` how much further from 0 it may lie. ``"99%"`` keeps so much of the baseline's score,
    whatever the kind, but for a perplexity and a bias.
    """

    tables: Mapping[str, Table]

    @classmethod
    def from_toml(cls, tables: Mapping[str, Any], benchmarks: Collection[str], where: str) -> Tolerances:
        """The defaults, overridden by ``[tool.qllm.tolerances.NAME]`` tables such as ``{"4": 0.05}``.

        Raises:
            QllmError: for a name, a width or a value that is none.
        """
        merged: dict[str, Table] = {**DEFAULTS, **COST_DEFAULTS}
        kinds = (*DEFAULTS, *WITHOUT_DEFAULT)
        for name, table in tables.items():
            if name not in kinds and name not in benchmarks and name not in COST:
                known = ", ".join((*kinds, *benchmarks, *COST))
                raise QllmError(f"{where}: tolerances for {name!r}, which is neither a kind nor a benchmark: {known}")
            if not isinstance(table, Mapping):
                raise QllmError(f"{where}: tolerances.{name} is {table!r}; expected a table such as {{4 = 0.05}}")
            kind = name if name in kinds else None
            override = {
                _bits(bits, name, where): check_cost(value, name, f"{where}: {name}")
                if name in COST
                else check(value, kind, f"{where}: {name}").written
                for bits, value in table.items()
            }
            merged[name] = {**merged.get(name, {}), **override}
        return cls(merged)

    def of(self, benchmark: str, kind: str, bits: int, *, own: bool = True) -> Tolerance:
        """The tolerance of a benchmark at a width; a width between two rows takes the stricter, wider one's.

        A benchmark's ``own`` rows come before its kind's. They are for its own metric, and for others of that kind:
        points of accuracy are none of probability.

        Raises:
            QllmError: if the benchmark's own tolerance is not one for its kind, or there is none.
        """
        table = {**self.tables.get(kind, {}), **(self.tables.get(benchmark, {}) if own and kind != "prob" else {})}
        if not table:
            raise QllmError(
                f"{benchmark}: there is no tolerance for a metric of the kind {kind!r}, whose size only you know: say "
                f'gate(..., tolerance=0.02) or tolerance="99%", or write a table [tool.qllm.tolerances.{benchmark}]'
            )
        above = [width for width in table if width >= bits]
        return check(table[min(above) if above else max(table)], kind, benchmark)

    def of_cost(self, name: str, bits: int) -> float | None:
        """The largest ratio of a cost at a width, by the row of that width or the next wider one; None without one."""
        table = self.tables.get(name, {})
        above = [width for width in table if width >= bits]
        return check_cost(table[min(above)], name, name) if above else None


def check_cost(value: object, name: str, what: str) -> float:
    """``value`` as the largest ratio to the baseline's cost: a number, or of a time the speed to keep (``"80%"``).

    Raises:
        QllmError: unless it lies from 0.001 to 1000.
    """
    is_time = COST[name].unit != BYTES
    kept = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value) if isinstance(value, str) and is_time else None
    ratio = 100 / float(kept[1]) if kept and float(kept[1]) > 0 else value
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0.001 <= ratio <= 1000:
        speed = ', or the share of the baseline\'s speed to keep, such as "80%"' if is_time else ""
        raise QllmError(
            f"{what}: the tolerance {value!r} is out of range; expected the largest ratio to the baseline's {name}, "
            f"such as {1.25 if is_time else 0.45}{speed}"
        )
    return float(ratio)


def check(value: object, kind: str | None, what: str) -> Tolerance:
    """``value`` as a tolerance of that kind (None: of any).

    Raises:
        QllmError: unless it is a number in range (from 0 below 1 for what lies between 0 and 1, from 1 for a
            perplexity), or a share such as ``"99%"``.
    """
    kept = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", value) if isinstance(value, str) else None
    if kept and kind in _PERPLEXITIES:
        raise QllmError(f"{what}: the tolerance {value!r} is out of range: a perplexity's is a ratio already, as 1.01")
    if kept and kind == "bias":
        raise QllmError(f"{what}: the tolerance {value!r} is out of range: of a bias nothing is kept; expected 0.03")
    if kept and _LEAST_KEPT <= float(kept[1]) <= 100:
        return Tolerance(round(1 - float(kept[1]) / 100, 12), relative=True)
    low, high = _RANGES.get(kind, (0.0, 1.0))
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        raise QllmError(
            f"{what}: the tolerance {value!r} is out of range; expected a difference of proportions such as 0.03, "
            f'for a perplexity a ratio such as 1.02, or the share of the baseline to keep, such as "99%" (from '
            f'"{_LEAST_KEPT}%")'
        )
    return Tolerance(float(value))


def _bits(given: object, name: str, where: str) -> int:
    try:
        bits = int(str(given))
    except ValueError:
        bits = 0
    if not 1 <= bits <= 16:
        raise QllmError(f"{where}: tolerances.{name} has the key {given!r}; expected a width from 1 to 16 bits")
    return bits
