"""The file: whole, escaped, and told of where it cannot be drawn."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pytest_qllm.report import html
from pytest_qllm.report.html import write_beside
from pytest_qllm.report.html.page import render
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import write
from pytest_qllm.report.reader import load_report
from pytest_qllm.report.record import Record
from pytest_qllm.report.texts import Answer, Asked, Texts

HOSTILE = "</script><script>alert(1)</script>'\"&"
BASELINE = Record("m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 2, 0.5)
FAIL = replace(
    BASELINE,
    regime="mine",
    method=HOSTILE,
    bits=4,
    outcome="FAIL",
    candidate=0.0,
    effect=-0.5,
    ci=(-0.9, None),
    tolerance=0.04,
    broken=1,
    mended=0,
    reason=HOSTILE,
    rerun=f"pytest {HOSTILE}",
    provenance={"regime": {"library": HOSTILE}},
    scores=Scores(("a", "b"), (1.0, 0.0), (0.0, 0.0)).to_json(),
    texts=Texts([Asked("a", HOSTILE), Asked("b", "?")], [Answer(HOSTILE)] * 2, [Answer(HOSTILE)] * 2).packed(),
)


class Scripts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.kinds.append(dict(attrs).get("type"))


def drawn(directory: Path, *records: Record, errors: object = ()) -> str:
    write(directory / "qllm.json", [one.to_json() for one in records], errors, {"time": "2026"})
    return render(load_report(directory))


def test_hostile_text_is_nothing_but_text(tmp_path: Path) -> None:
    error = {"test": HOSTILE, "regime": "mine", "message": HOSTILE}
    text = drawn(tmp_path, BASELINE, FAIL, replace(FAIL, regime=HOSTILE), errors=[error])
    assert HOSTILE not in text
    assert "alert(1)</script>" not in text
    scripts = Scripts()
    scripts.feed(text)
    assert scripts.kinds.count(None) == 1
    assert set(scripts.kinds) == {None, "application/json", "text/plain"}


def test_the_policy_names_the_page_own_script(tmp_path: Path) -> None:
    text = drawn(tmp_path, BASELINE, FAIL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert f"sha256-{digest}" in policy[1].replace("&#43;", "+")
    assert "unsafe-inline" not in policy[1].split("style-src")[0]
    assert "default-src &#39;none&#39;" in policy[1]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    text = drawn(tmp_path, BASELINE, FAIL)
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"|url\(|@import', markup) == []


def test_a_report_of_errors_alone_has_a_page(tmp_path: Path) -> None:
    text = drawn(tmp_path, errors=[{"test": "t", "regime": "mine", "message": "no model at '/no'"}])
    assert "no model at" in text
    assert "data-pack" not in text.split("<script>")[0]


def test_a_baseline_alone_has_a_page(tmp_path: Path) -> None:
    assert "no regime was judged" in drawn(tmp_path, BASELINE)


def test_items_that_are_gone_are_told(tmp_path: Path) -> None:
    write(tmp_path / "qllm.json", [FAIL.to_json()], [], {"time": "2026"})
    (tmp_path / "texts.json.gz").unlink()
    assert "No single items: " in render(load_report(tmp_path))


def test_a_missing_library_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "qllm.json", [FAIL.to_json()], [], {"time": "2026"})
    (tmp_path / "qllm.html").write_text("of another session")
    monkeypatch.setattr(html, "find_spec", lambda name: None)
    line = write_beside(tmp_path / "qllm.json")
    assert line == "no qllm.html: the page needs jinja2 and plotly: pip install 'pytest-qllm[report]'"
    assert not (tmp_path / "qllm.html").exists()


def test_a_fault_of_ours_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "qllm.json", [FAIL.to_json()], [], {"time": "2026"})

    def broken(_: object) -> str:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("pytest_qllm.report.html.page.render", broken)
    assert write_beside(tmp_path / "qllm.json") == "no qllm.html: ZeroDivisionError: division by zero"
