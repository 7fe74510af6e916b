"""qllm.html: every session that had a gate leaves a page that shows what its qllm.json says."""

from __future__ import annotations

import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from conftest import Suite

# Own words of chromium that are no complaint of the page's.
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PATIENCE = 300
"""Seconds."""


@pytest.mark.slow
def test_a_session_leaves_a_page(suite: Suite) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    result = suite.run()
    page = suite.path / "reports/qllm.html"
    result.stdout.fnmatch_lines([f"report: {suite.path}/reports/qllm.json", f"page: {page}"])
    text = unescape(page.read_text())
    for (regime, benchmark), verdict in suite.outcomes.items():
        assert f'aria-label="{benchmark} on {regime}: ' in text
        assert {"NO_SIGNAL": "no signal", "INCONCLUSIVE": "INCONCL."}.get(verdict, verdict) in text
    assert suite.verdicts["bnb-nf4", "lambada"]["rerun"] in text


@pytest.mark.slow
def test_a_real_browser_shows_the_items_of_a_run(suite: Suite) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed (apt-get install chromium)")
    suite.gates("lambada", "story_perplexity")
    suite.run()
    verdict = suite.verdicts["bnb-nf4", "lambada"]
    flips = verdict["flips"]
    shown, said = _shown(chromium, suite.path / "reports/qllm.html", "/cell/bnb-nf4/lambada")
    assert f"Of {verdict['n']} items {flips['broken']} are broken, {flips['mended']} mended" in shown
    assert shown.count('class="mark broken"') == min(flips["broken"], 50)
    assert "CONSOLE" not in said
    shown, said = _shown(chromium, suite.path / "reports/qllm.html", "/cell/bnb-nf4/story_perplexity")
    assert f"Of {suite.verdicts['bnb-nf4', 'story_perplexity']['n']} items" in shown
    assert "CONSOLE" not in said


@pytest.mark.slow
def test_a_page_that_cannot_be_drawn_is_told_and_changes_no_verdict(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_qllm.report.html.find_spec", lambda name: None)
    suite.gates("lambada")
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["no qllm.html: the page needs jinja2 and plotly: pip install 'pytest-qllm[[]report]'"])
    assert not (suite.path / "reports/qllm.html").exists()


def _shown(chromium: str, page: Path, place: str) -> tuple[str, str]:
    """The document once its scripts have run, and what the browser said."""
    found = subprocess.run(
        [
            *(chromium, *ARGUMENTS, "--enable-logging=stderr", "--virtual-time-budget=30000"),
            *(f"--user-data-dir={page.parent / 'chromium'}", "--dump-dom", f"{page.as_uri()}#{place}"),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return unescape(found.stdout), found.stderr
