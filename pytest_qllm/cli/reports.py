"""`pytest-qllm report` and `pytest-qllm merge`: a report again in another form, and shards of one run as one report."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.cli.listing import Commands
from pytest_qllm.errors import QllmError

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report

FAILS = 1
"""Exit status where a verdict fails."""

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}


def add_commands(commands: Commands) -> None:
    """The commands ``report`` and ``merge``."""
    report = commands.add_parser("report", help="a session's report again, in another form")
    report.add_argument("file", metavar="FILE", help="qllm.json of a session, or its directory")
    forms = report.add_mutually_exclusive_group()
    forms.add_argument("--html", action="store_true", help="write qllm.html beside the file")
    forms.add_argument("--markdown", action="store_true", help="print GitHub-flavoured Markdown, under 64 KiB")
    forms.add_argument("--json", action="store_true", help="print JSON, checked and in the form of this version")
    report.set_defaults(run=_report)
    merge = commands.add_parser("merge", help="shards of one run as one report")
    merge.add_argument("files", metavar="FILE", nargs="+", help="qllm.json of each shard, or its directory")
    merge.add_argument(
        "--into", metavar="DIR", type=Path, default=Path("reports"), help="where it is written (default: %(default)s)"
    )
    merge.set_defaults(run=_merge)


def _report(options: argparse.Namespace) -> int:
    from pytest_qllm.report.answer import failed
    from pytest_qllm.report.reader import load_report

    report = load_report(options.file)
    if options.html:
        from pytest_qllm.report.html import write

        print(f"page: {write(report)}")
    elif options.markdown:
        from pytest_qllm.report.markdown import render

        sys.stdout.write(render(report))
    elif options.json:
        print(json.dumps(report.to_json(), indent=2, allow_nan=False))
    else:
        show(report)
    return FAILS if failed(report) else 0


def _merge(options: argparse.Namespace) -> int:
    from pytest_qllm import publish
    from pytest_qllm.report import merge
    from pytest_qllm.report.answer import failed
    from pytest_qllm.report.html import write_beside
    from pytest_qllm.report.json import save
    from pytest_qllm.report.reader import NAME, load_report, report_of

    reports = [load_report(file) for file in options.files]
    path = options.into / NAME
    if any(path.exists() and path.samefile(report.path) for report in reports):
        raise QllmError(
            f"--into {options.into} would overwrite {path}, which is one of the shards; give another directory"
        )
    try:
        content = save(path, merge.beside(reports), lambda listed: merge.merged(reports, listed))
    except OSError as error:
        raise QllmError(f"cannot write {path}: {error.strerror}; choose another --into") from error
    report = report_of(content, path)
    written = [f"report: {path}, of {len(reports)} shards", write_beside(path), *publish.beside(path, os.environ)]
    show(report, "\n".join(written))
    return FAILS if failed(report) else 0


def show(report: Report, written: str = "") -> None:
    """The summary as at the end of the session, in colour where the output is a terminal; ``written`` as there."""
    from pytest_qllm.report.terminal import summary

    width = shutil.get_terminal_size().columns
    errors = [asdict(error) for error in report.errors]
    page = report.path.with_name("qllm.html")
    about = (report.kernels, report.alpha, str(page if page.is_file() else report.path), written)
    for spans in summary(report.records, errors, report.regimes, width, *about):
        print("".join(_coloured(text, markup) for text, markup in spans))


def _coloured(text: str, markup: dict[str, bool]) -> str:
    codes = [_COLOURS[name] for name, on in markup.items() if on and name in _COLOURS]
    if not codes or not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"
