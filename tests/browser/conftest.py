"""A real headless browser, and a report that it opens as a user does: from a file, with no network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from made_report import ARGUMENTS, ITEMS, PATIENCE, REGIMES, Open, write_report

from pytest_qllm.report.html import write
from pytest_qllm.report.reader import Report, load_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE)
        yield started
        started.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Five regimes, six benchmarks, and a script planted in prompts, choices, answers and an error."""
    found = load_report(write_report(tmp_path_factory.mktemp("report"), items=ITEMS, regimes=REGIMES))
    write(found)
    return found


@pytest.fixture
def opened(browser: Browser, report: Report) -> Iterator[Open]:
    """Open a report's page at a place; at the end nothing was complained of, and nothing but the file was read."""
    contexts: list[Any] = []
    heard: list[str] = []
    asked: list[str] = []

    def open_at(place: str = "", file: Path | None = None, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 860}, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{(file or report.path.with_name('qllm.html')).as_uri()}{place and '#' + place}")
        return page

    yield open_at
    assert heard == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    for context in contexts:
        context.close()
