"""Reading qllm.json: typed objects for a program, a pandas frame for a notebook. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import msgspec

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.catalog import ALIASES
from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.report import items, texts
from pytest_qllm.report.family import PooledRow, Together, together
from pytest_qllm.report.json import SCHEMA, document
from pytest_qllm.report.kernel_record import KernelRecord
from pytest_qllm.report.record import Record
from pytest_qllm.report.wire import Document, ItemsDocument, Sidecar, Table, TestError, Texts, TextsDocument
from pytest_qllm.verdict.expected import Acceptance
from pytest_qllm.verdict.paired import ALPHA

if TYPE_CHECKING:
    import pandas

NAME = "qllm.json"

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Report:
    """What a session left in its qllm.json; see docs/reference/qllm-json.md.

    Attributes:
        path: the file.
        provenance: time, versions, hardware and settings of the session, as they were written.
        baselines: the FP16 scores, as records without an outcome.
        verdicts: one record for each regime and benchmark.
        kernels: of the regimes whose kernel was probed.
        errors: tests that ended without a verdict.
        session: what the verdicts say together.
        pooled: mean effects over the benchmarks of a dimension.
        sidecar: the file with the scores of the single items; None where nothing was measured.
        exitstatus: pytest's, of the session; None where the report was written before that was told.
        unknown: fields of the file that this version does not know, such as ``verdicts.color``.
        answers: the file with prompts and answers; None where there is none.
    """

    path: Path
    provenance: Mapping[str, Any]
    baselines: tuple[Record, ...]
    verdicts: tuple[Record, ...]
    kernels: tuple[KernelRecord, ...]
    errors: tuple[TestError, ...]
    session: Together
    pooled: tuple[PooledRow, ...]
    sidecar: Sidecar | None
    exitstatus: int | None
    unknown: tuple[str, ...] = ()
    answers: Sidecar | None = None

    @property
    def records(self) -> tuple[Record, ...]:
        """Baselines and verdicts."""
        return (*self.baselines, *self.verdicts)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every option as it was in force."""
        return dict(self.provenance.get("settings", {}))

    @property
    def alpha(self) -> float:
        return self.session.alpha

    @property
    def regimes(self) -> tuple[str, ...]:
        """The baseline and the regimes in the order in which they were asked for."""
        asked = [ALIASES.get(name, name) for name in self.settings.get("regimes", ())]
        told: tuple[Record | KernelRecord | TestError, ...] = (*self.verdicts, *self.kernels, *self.errors)
        named = [one.regime for one in told]
        return tuple(dict.fromkeys((BASELINE, *asked, *named)))

    @cached_property
    def items(self) -> tuple[Table, ...]:
        """The scores of the single items, read when they are first asked for; empty where nothing was measured.

        Raises:
            QllmError: if the file beside the report is missing, damaged, or another one.
        """
        return _beside(self.path, self.sidecar, items, ItemsDocument).benchmarks if self.sidecar else ()

    @cached_property
    def texts(self) -> tuple[Texts, ...]:
        """What was asked and answered, read when it is first asked for; empty where nothing was measured.

        Raises:
            QllmError: if the file beside the report is missing, damaged, or another one.
        """
        return _beside(self.path, self.answers, texts, TextsDocument).benchmarks if self.answers else ()

    def frame(self) -> pandas.DataFrame:
        """The verdicts as a table, one row each; ``ci`` as ci_low and ci_high, mappings and provenance left out.

        Raises:
            QllmError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise QllmError("a frame needs pandas, which is not installed; pip install 'pytest-qllm[frame]'") from error
        return pandas.DataFrame([_row(record) for record in self.verdicts], columns=list(COLUMNS))

    def to_json(self) -> dict[str, Any]:
        """The content of the file, without what is unknown."""
        return document(
            [record.to_json() for record in self.records],
            [asdict(error) for error in self.errors],
            self.provenance,
            [kernel.to_json() for kernel in self.kernels],
            self.alpha,
            None if self.sidecar is None else asdict(self.sidecar),
            self.exitstatus,
            None if self.answers is None else asdict(self.answers),
        )


def load_report(path: str | Path) -> Report:
    """Read a qllm.json, or the one in a directory.

    Raises:
        QllmError: if there is no such file, it is damaged, no report of pytest-qllm, or of a later schema.
    """
    file = Path(path)
    if file.is_dir():
        file = file / NAME
    try:
        content = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise QllmError(f"{file} cannot be read ({error.strerror}); expected the {NAME} of a session") from error
    except ValueError as error:
        raise QllmError(f"{file} is no {NAME} of pytest-qllm, or was cut off: {_line(error)}") from error
    return report_of(content, file)


def report_of(content: Any, path: Path) -> Report:
    """The report in the content of a file.

    Raises:
        QllmError: as ``load_report``.
    """
    _check_schema(content, path)
    try:
        read = _converted(content, Document)
    except ValueError as error:
        raise QllmError(f"{path} is damaged or no {NAME} of pytest-qllm: {_line(error)}") from error
    baselines = tuple(_baseline(entry) for entry in content["baselines"])
    verdicts = tuple(_verdict(entry) for entry in content["verdicts"])
    return Report(
        path,
        content["provenance"],
        baselines,
        verdicts,
        tuple(
            KernelRecord.from_json({**entry, "figures": asdict(one.figures)})
            for entry, one in zip(content.get("kernels", ()), read.kernels, strict=True)
        ),
        read.errors,
        read.session or together(verdicts, float(content["provenance"].get("settings", {}).get("alpha", ALPHA))),
        read.pooled,
        read.items,
        read.exitstatus,
        tuple(dict.fromkeys(_unknown(content, Document))),
        read.texts,
    )


def _check_schema(content: Any, path: Path) -> None:
    given = content.get("schema") if isinstance(content, Mapping) else None
    if given == SCHEMA:
        return
    name, _, major = str(given).partition("/")
    own, _, known = SCHEMA.partition("/")
    if name == own and major.isdecimal() and int(major) > int(known):
        raise QllmError(
            f"{path} has the schema {given!r}, and this pytest-qllm reads {SCHEMA!r}; install a later pytest-qllm"
        )
    what = "no schema" if given is None else f"the schema {given!r}"
    raise QllmError(f"{path} has {what}; expected {SCHEMA!r}: the {NAME} of a session")


def _beside(report: Path, listed: Sidecar, room: Any, kind: type[Kind]) -> Kind:
    """The content of a file beside a report; ``room`` is the module that reads it."""
    path = report.parent / listed.file
    try:
        return _converted({"schema": room.SCHEMA, "benchmarks": room.read(path, listed.sha256)}, kind)
    except (ValueError, KeyError, TypeError, EOFError, OSError) as error:
        raise QllmError(f"{path} is damaged ({_line(error)}); take it from where the report was made") from error


def _converted(content: Any, kind: type[Kind]) -> Kind:
    """Content as its type: every field checked, unknown ones passed over.

    Raises:
        ValueError: naming the field that is missing or is not what it should be.
    """
    return msgspec.convert(content, kind)


_FIELDS = frozenset(one.name for one in fields(Record))


def _baseline(entry: Mapping[str, Any]) -> Record:
    recipe = entry["provenance"].get("regime", {})
    known = {name: value for name, value in entry.items() if name in _FIELDS}
    return Record(regime=BASELINE, method=recipe.get("method", "none"), bits=recipe.get("bits", 16), **known)


def _verdict(entry: Mapping[str, Any]) -> Record:
    known = {name: value for name, value in entry.items() if name in _FIELDS}
    known |= {"outcome": entry["verdict"], "broken": entry["flips"]["broken"], "mended": entry["flips"]["mended"]}
    expected = entry.get("expected")
    known["expected"] = None if expected is None else msgspec.convert(expected, Acceptance)
    return Record(**known)


def _unknown(content: Any, kind: Any, place: str = "") -> list[str]:
    """Names of fields that a type does not have, at any depth."""
    if not is_dataclass(kind):
        inner = [one for one in get_args(kind) if one not in (..., type(None))]
        if len(inner) != 1 or content is None:
            return []
        entries = content if isinstance(content, list) else [content]
        return [name for entry in entries for name in _unknown(entry, inner[0], place)]
    types = get_type_hints(kind)
    found = [f"{place}{name}" for name in content if name not in types]
    for name, inner in types.items():
        if name in content and name != "provenance":
            found += _unknown(content[name], inner, f"{place}{name}.")
    return found


COLUMNS = (
    "model",
    "regime",
    "method",
    "bits",
    "benchmark",
    "dimension",
    "metric",
    "verdict",
    "standing",
    "scale",
    "baseline",
    "candidate",
    "effect",
    "ci_low",
    "ci_high",
    "tolerance",
    "n",
    "planned",
    "fixed",
    "looks",
    "interval",
    "p_pass",
    "p_fail",
    "p_any_loss",
    "p_pass_holm",
    "p_fail_holm",
    "broken",
    "mended",
    "reason",
    "rerun",
)
"""Columns of ``Report.frame``."""


def _row(record: Record) -> dict[str, Any]:
    low, high = record.ci or (None, None)
    own = {"verdict": record.outcome, "ci_low": low, "ci_high": high}
    return {name: own[name] if name in own else getattr(record, name) for name in COLUMNS}


def _line(error: Exception) -> str:
    """An error of the libraries in one line."""
    return " ".join(str(error).split()) or type(error).__name__
