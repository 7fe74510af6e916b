"""A sheet: the scores of models' regimes on benchmarks, and how each differs from its own baseline. Pure types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_qllm.verdict.kinds import Kind, Scale
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.significance import Difference


@dataclass(frozen=True)
class Row:
    """One regime of one model.

    Attributes:
        bits: 16 for a baseline.
        bytes: of the whole model; None where it is not known.
    """

    model: str
    regime: str
    method: str
    bits: int
    bytes: float | None = None
    is_baseline: bool = False

    @property
    def name(self) -> str:
        return f"{self.model} {self.regime}"


@dataclass(frozen=True)
class Column:
    """One benchmark.

    Attributes:
        kind: of its metric; None where only scores are known, and not what they are.
    """

    name: str
    dimension: str = ""
    metric: str = ""
    kind: Kind | None = None

    @property
    def is_perplexity(self) -> bool:
        return self.kind is Kind.PERPLEXITY

    @property
    def is_ratio(self) -> bool:
        return self.kind is not None and self.kind.scale is Scale.RATIO

    @property
    def is_bias(self) -> bool:
        """Whether less of it (in size) is better; told by the name, as nothing else tells."""
        return "bias" in self.name or "bias" in self.metric


@dataclass(frozen=True)
class Cell:
    """A row's score on a benchmark.

    Attributes:
        score: as the benchmark has it. Of a regime that was measured on fewer items than its baseline, the baseline's
            score moved by the paired difference, so that all scores of a column are of the same items; a bias score,
            which has a sign, stays its own.
        n: items on which it was compared with its baseline; None where that is not known.
        change: against its baseline; None for a baseline, and where single items are not known.
        p_holm: the change's p-value, adjusted for all changes of the sheet.
    """

    score: float
    n: int | None = None
    change: Difference | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Sheet:
    """Rows by model, the baseline first, and columns by name.

    Attributes:
        cells: by places of row and column; what was not measured is not there.
        source: where it is from.
        setting: what all of it was computed with; empty where that is not known.
        notes: what a reader has to know of, each a line.
        samples: scores of the single items behind a cell.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[int, int], Cell]
    source: str
    setting: str = ""
    notes: tuple[str, ...] = ()
    samples: Mapping[tuple[int, int], Sample] = field(default_factory=dict, repr=False)

    def scores(self, column: int) -> dict[int, float]:
        """Of a column, by the place of the row."""
        return {row: cell.score for (row, at), cell in self.cells.items() if at == column}

    def baseline_of(self, row: int) -> int | None:
        """The place of the baseline of a row's model."""
        model = self.rows[row].model
        return next((at for at, one in enumerate(self.rows) if one.model == model and one.is_baseline), None)

    def changes(self) -> Iterator[tuple[tuple[int, int], Difference]]:
        for place, cell in self.cells.items():
            if cell.change is not None:
                yield place, cell.change
