"""What the first screen says: may each regime ship, and the matrix of its verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.report import dimensions
from pytest_qllm.report.answer import Answer, Ships, answers
from pytest_qllm.report.costs import way
from pytest_qllm.report.html.signs import SIGNS, Sign, change_of, sign_of
from pytest_qllm.report.reader import Report
from pytest_qllm.report.record import Record

_KINDS = {Ships.YES: "pass", Ships.NO: "fail", Ships.UNDECIDED: "open"}


@dataclass(frozen=True)
class Cell:
    """A regime on a benchmark; where two tests asked, the worse verdict stands for both."""

    regime: str
    benchmark: str
    records: tuple[Record, ...]

    @property
    def record(self) -> Record:
        return max(self.records, key=lambda record: sign_of(record).severity)

    @property
    def sign(self) -> Sign:
        return sign_of(self.record)

    @property
    def place(self) -> str:
        """Where its page is."""
        return f"/cell/{quote(self.regime, safe='')}/{quote(self.benchmark, safe='')}"

    @property
    def effect(self) -> str:
        """The effect, or a baseline's score."""
        record = self.record
        if record.outcome is None:
            return record.score(record.baseline)
        if record.effect is None:
            return ""
        return " ".join(
            part for part in (change_of(record, record.effect), way(record) if record.is_cost else "") if part
        )

    @property
    def interval(self) -> str:
        return interval_of(self.record)

    @property
    def slid(self) -> bool:
        return any(record.has_slid for record in self.records)

    def label(self) -> str:
        """The whole cell in words, for a screen reader."""
        record = self.record
        words = [f"{self.benchmark} on {self.regime}: {self.sign.word}"]
        if record.outcome is None:
            words.append(f"{record.metric} {self.effect}")
        elif record.effect is not None:
            words.append(f"{self.effect}{'' if record.is_ratio else ' points'}, {self.interval}")
        return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class Shown:
    """A regime's answer as the matrix shows it: the word, its class, and the verdicts behind it."""

    word: str
    kind: str
    why: str
    counts: str


@dataclass(frozen=True)
class Row:
    """A regime in the matrix."""

    regime: str
    method: str
    bits: int | None
    size: Mapping[str, float] | None
    answer: Shown | None
    cells: Mapping[str, Cell]


class View:
    """A report, arranged."""

    def __init__(self, report: Report) -> None:
        self.report = report

    @cached_property
    def cells(self) -> dict[tuple[str, str], Cell]:
        found: dict[tuple[str, str], list[Record]] = {}
        for record in self.report.records:
            found.setdefault((record.regime, record.benchmark), []).append(record)
        return {place: Cell(*place, tuple(records)) for place, records in found.items()}

    @cached_property
    def models(self) -> list[str]:
        return sorted({record.model for record in self.report.records})

    @cached_property
    def dimensions(self) -> dict[str, list[str]]:
        """Benchmarks by dimension; within one its pooled test comes first, and last where no regime has a signal."""
        found: dict[str, set[str]] = {}
        for record in self.report.records:
            found.setdefault(record.dimension, set()).add(record.benchmark)
        return {
            name: sorted(found[name], key=lambda one: (self.is_silent(one), one != name, one))
            for name in sorted(found, key=dimensions.order)
        }

    @property
    def benchmarks(self) -> list[str]:
        return [name for names in self.dimensions.values() for name in names]

    def is_silent(self, benchmark: str) -> bool:
        """Whether no regime has a signal there."""
        signs = [cell.sign for (regime, name), cell in self.cells.items() if name == benchmark and regime != BASELINE]
        return bool(signs) and all(sign == SIGNS["NO_SIGNAL"] for sign in signs)

    @cached_property
    def rows(self) -> list[Row]:
        """The baseline and every regime that a record, a kernel or an error tells of, in the order of the session."""
        told = {record.regime for record in self.report.records} | {one.regime for one in self.report.kernels}
        told |= {error.regime for error in self.report.errors}
        return [self._row(name) for name in self.report.regimes if name in told]

    def _row(self, regime: str) -> Row:
        cells = {name: self.cells[regime, name] for name in self.benchmarks if (regime, name) in self.cells}
        first = next((cell.record for cell in cells.values()), None)
        kernel = next((one for one in self.report.kernels if one.regime == regime), None)
        told = first or kernel
        size = next((cell.record.size for cell in cells.values() if cell.record.size), None)
        answer = None if regime == BASELINE else self.answer(regime)
        return Row(regime, told.method if told else "", told.bits if told else None, size, answer, cells)

    def answer(self, regime: str) -> Shown:
        """As every form of the report answers; what is not proven is not shippable."""
        found = self._answers[regime]
        cells = [cell for (name, _), cell in self.cells.items() if name == regime]
        counts = Counter(cell.sign.word for cell in cells)
        order = [sign.word for sign in SIGNS.values()]
        return Shown(
            found.ships.capitalize(),
            _KINDS[found.ships],
            found.why,
            ", ".join(f"{counts[word]} {word}" for word in order if counts[word]),
        )

    @cached_property
    def _answers(self) -> dict[str, Answer]:
        return {one.regime: one for one in answers(self.report)}

    def of(self, benchmark: str) -> list[Record]:
        """Records of a benchmark with an effect, in the order of the session."""
        order = {name: at for at, name in enumerate(self.report.regimes)}
        found = [one for one in self.report.verdicts if one.benchmark == benchmark and one.effect is not None]
        return sorted(found, key=lambda record: (record.metric, order.get(record.regime, len(order))))


def interval_of(record: Record) -> str:
    """Both limits; a side that is not bounded is said to be so."""
    if record.effect is None or record.ci is None:
        return ""
    low, high = (change_of(record, value) for value in record.ci)
    return f"{low} to {high}"
