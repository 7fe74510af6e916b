"""qllm.html: the report for people, in one file that fetches nothing. See docs/reference/report-html.md."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.errors import QllmError, UnavailableError

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report

NAME = "qllm.html"


def render(report: Report) -> str:
    """The page.

    Raises:
        UnavailableError: if a library that draws it is not installed.
    """
    missing = [name for name in ("jinja2", "plotly") if find_spec(name) is None]
    if missing:
        raise UnavailableError(f"the page needs {' and '.join(missing)}: pip install 'pytest-qllm[report]'")
    from pytest_qllm.report.html import page

    return page.render(report)


def write(report: Report, path: Path | None = None) -> Path:
    """Write the report's page, beside its qllm.json by default; returns where it is.

    Raises:
        UnavailableError: if a library that draws it is not installed.
        QllmError: if it cannot be written.
    """
    file = path or report.path.with_name(NAME)
    text = render(report)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise QllmError(f"cannot write {file}: {error.strerror}; choose another place") from error
    return file


def write_beside(report: Path) -> str:
    """Write the page of a qllm.json at the end of a session; returns the line that says where it is, or why it is not.

    The verdicts are written by then, and a page that cannot be drawn must not take the rest of the session with it: any
    error is told in the line. No older page is left there, since it would show other verdicts.
    """
    from pytest_qllm.report.reader import load_report

    try:
        return f"page: {write(load_report(report))}"
    except Exception as error:
        report.with_name(NAME).unlink(missing_ok=True)
        what = str(error) if isinstance(error, QllmError) else f"{type(error).__name__}: {error}"
        return f"no {NAME}: {' '.join(what.split())}"
