"""qllm.json: the session's verdicts with their evidence and provenance. Its schema is docs/reference/qllm-json.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.report import items, sidecar, texts
from pytest_qllm.report.baselines import on_most_items
from pytest_qllm.report.family import adjusted, pooled, together
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.paired import ALPHA

SCHEMA = "pytest-qllm/1"

Listed = Mapping[str, str] | None
"""Name and hash of a file beside the report; None where there is none."""


def document(
    contents: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, str]],
    provenance: Mapping[str, Any],
    kernels: Sequence[Mapping[str, Any]] = (),
    alpha: float = ALPHA,
    scores: Mapping[str, Any] | None = None,
    exitstatus: int | None = None,
    answers: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The report as JSON content.

    Args:
        contents: records of the session.
        errors: tests that ended without one.
        provenance: of the session.
        kernels: records of kernels.
        alpha: error at which failures are claimed together.
        scores: name and hash of the file beside it that has the scores of the single items.
        exitstatus: pytest's, of the session.
        answers: name and hash of the one that has their prompts and answers.
    """
    # Under xdist records come in as workers end: the report is the same for any number of them.
    records = on_most_items(
        sorted(map(Record.from_json, contents), key=lambda record: (record.benchmark, record.regime))
    )
    return {
        "schema": SCHEMA,
        "provenance": dict(provenance),
        "exitstatus": exitstatus,
        "items": None if scores is None else dict(scores),
        "texts": None if answers is None else dict(answers),
        "baselines": [_baseline(record) for record in records if record.outcome is None],
        "verdicts": _verdicts([record for record in records if record.outcome is not None]),
        "session": asdict(together(records, alpha)),
        "pooled": [asdict(row) for row in pooled(records)],
        "kernels": sorted(kernels, key=lambda kernel: str(kernel["regime"])),
        "errors": sorted(errors, key=lambda error: (error["test"], error["regime"], error["message"])),
    }


def write(
    path: Path,
    records: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, str]],
    provenance: Mapping[str, Any],
    kernels: Sequence[Mapping[str, Any]] = (),
    alpha: float = ALPHA,
    exitstatus: int | None = None,
) -> dict[str, Any]:
    """Write the report, and return it; beside it the scores of the single items, and what was asked and answered.

    Raises:
        QllmError: if the directory cannot be written.
    """
    beside = {items.NAME: items.document(records), texts.NAME: texts.document(records)}

    def made(listed: Mapping[str, Listed]) -> dict[str, Any]:
        files = listed[items.NAME], listed[texts.NAME]
        return document(records, errors, provenance, kernels, alpha, files[0], exitstatus, files[1])

    try:
        return save(path, beside, made)
    except OSError as error:
        raise QllmError(f"cannot write {path}: {error.strerror}; choose another --qllm-report") from error


def save(
    path: Path, beside: Mapping[str, Mapping[str, Any]], made: Callable[[Mapping[str, Listed]], dict[str, Any]]
) -> dict[str, Any]:
    """Write files beside the report by their names, and the report, which lists them with their hashes.

    A file without benchmarks is not written, and one that lies there is removed.

    Raises:
        OSError: if the directory cannot be written.
    """
    packed = {name: sidecar.encode(content) if content["benchmarks"] else None for name, content in beside.items()}
    report = made(
        {
            name: None if data is None else {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in packed.items()
        }
    )
    content = json.dumps(report, indent=2, allow_nan=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content + "\n")
    for name, data in packed.items():
        if data is None:
            path.with_name(name).unlink(missing_ok=True)
        else:
            path.with_name(name).write_bytes(data)
    return report


_OF_A_BASELINE = (
    *("model", "benchmark", "dimension", "metric", "scale", "n", "baseline"),
    *("noise", "hit_limit", "against", "pooled", "size", "rerun"),
)


def _baseline(record: Record) -> dict[str, Any]:
    content = record.to_json()
    return {**{name: content[name] for name in _OF_A_BASELINE}, "provenance": content["provenance"]}


def _verdicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    passes = adjusted([record.p_pass for record in records])
    fails = adjusted([record.p_fail for record in records])
    return [_verdict(*entry) for entry in zip(records, passes, fails, strict=True)]


def _verdict(record: Record, p_pass_holm: float | None, p_fail_holm: float | None) -> dict[str, Any]:
    content = replace(record, p_pass_holm=p_pass_holm, p_fail_holm=p_fail_holm).to_json()
    del content["scores"], content["texts"]
    content["verdict"] = content.pop("outcome")
    content["flips"] = {"broken": content.pop("broken"), "mended": content.pop("mended")}
    return content
