"""What a session leaves for people beside qllm.json: qllm.md, and the summary of a GitHub Actions step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report

NAME = "qllm.md"
STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment's variable with the file whose content GitHub shows on the page of a run."""


def markdown(report: Report, environment: Mapping[str, str]) -> Path:
    """Write qllm.md beside the report, and append it to the step's summary where there is one.

    Raises:
        QllmError: if one of the two cannot be written.
    """
    from pytest_qllm.report.markdown import render

    text = render(report)
    path = report.path.with_name(NAME)
    summary = environment.get(STEP_SUMMARY)
    _write(path, text, "w")
    if summary:
        _write(Path(summary), text, "a")
    return path


def beside(report: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Write what belongs beside a qllm.json at the end of a session; a line where that did not work.

    The verdicts are written by then: no error here may take the rest of the session with it, and no older summary is
    left there, since it would show other verdicts.
    """
    from pytest_qllm.report.reader import load_report

    try:
        markdown(load_report(report), environment)
    except Exception as error:
        report.with_name(NAME).unlink(missing_ok=True)
        what = str(error) if isinstance(error, QllmError) else f"{type(error).__name__}: {error}"
        yield f"no {NAME}: {' '.join(what.split())}"


def _write(path: Path, text: str, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise QllmError(f"cannot write {path}: {error.strerror}") from error
