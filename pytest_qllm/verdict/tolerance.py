"""What a metric may lose against the baseline, by bit-width."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_qllm.errors import QllmError

Table = Mapping[int, float]

# Why these: docs/explanation/tolerances.md.
DEFAULTS: Mapping[str, Table] = {
    "accuracy": {8: 0.03, 4: 0.04, 3: 0.06, 2: 0.08},
    "perplexity": {8: 1.03, 4: 1.08, 3: 1.15, 2: 1.20},
    "prob": {8: 0.025, 4: 0.035, 3: 0.05, 2: 0.07},
}


@dataclass(frozen=True)
class Tolerances:
    """Tables by kind of metric or by benchmark, each from bits to what may be lost.

    The tolerance of an ``accuracy`` is a difference of proportions (0.03: three points), that of a ``prob`` a
    difference of mean probabilities, that of a ``perplexity`` the largest ratio to the baseline (1.02: two percent
    more).
    """

    tables: Mapping[str, Table]

    @classmethod
    def from_toml(cls, tables: Mapping[str, Any], benchmarks: Collection[str], where: str) -> Tolerances:
        """The defaults, overridden by ``[tool.qllm.tolerances.NAME]`` tables such as ``{"4": 0.05}``.

        Raises:
            QllmError: for a name, a width or a value that is none.
        """
        merged: dict[str, Table] = dict(DEFAULTS)
        for name, table in tables.items():
            if name not in DEFAULTS and name not in benchmarks:
                known = ", ".join((*DEFAULTS, *benchmarks))
                raise QllmError(f"{where}: tolerances for {name!r}, which is neither a kind nor a benchmark: {known}")
            if not isinstance(table, Mapping):
                raise QllmError(f"{where}: tolerances.{name} is {table!r}; expected a table such as {{4 = 0.05}}")
            kind = name if name in DEFAULTS else None
            override = {
                _bits(bits, name, where): check(value, kind, f"{where}: {name}") for bits, value in table.items()
            }
            merged[name] = {**merged.get(name, {}), **override}
        return cls(merged)

    def of(self, benchmark: str, kind: str, bits: int) -> float:
        """The tolerance of a benchmark at a width; a width between two rows takes the stricter, wider one's.

        A benchmark's own rows come before its kind's. They are for an accuracy or a perplexity, and not for a ``prob``,
        which has another size.

        Raises:
            QllmError: if the benchmark's own tolerance is not one for its kind.
        """
        own = {} if kind == "prob" else self.tables.get(benchmark, {})
        table = {**self.tables[kind], **own}
        above = [width for width in table if width >= bits]
        return check(table[min(above) if above else max(table)], kind, benchmark)


def check(value: object, kind: str | None, what: str) -> float:
    """``value`` as a tolerance of that kind (None: of any).

    Raises:
        QllmError: unless it is a number in range: from 0 below 1 for an accuracy or a prob, from 1 for a perplexity.
    """
    low, high = {"accuracy": (0, 1), "prob": (0, 1), "perplexity": (1, 100)}.get(kind or "", (0, 100))
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
        raise QllmError(
            f"{what}: the tolerance {value!r} is out of range; expected a difference of proportions such as 0.03, or "
            "for a perplexity a ratio such as 1.02"
        )
    return float(value)


def _bits(given: object, name: str, where: str) -> int:
    try:
        bits = int(str(given))
    except ValueError:
        bits = 0
    if not 1 <= bits <= 16:
        raise QllmError(f"{where}: tolerances.{name} has the key {given!r}; expected a width from 1 to 16 bits")
    return bits
