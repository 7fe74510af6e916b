"""How soon qllm.html shows itself, and how soon it answers, with many items: in a real headless browser.

Largest contentful paint is the browser's own figure; the others are milliseconds until the document shows the answer.
Each round opens the file anew, in a browser context of its own. Needs chromium and `pip install 'pytest-qllm[test]'`.

    python perf/html_report.py --items 20000
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

BROWSER = Path(__file__).resolve().parents[1] / "tests/browser"
sys.path.insert(0, str(BROWSER))

from made_report import ARGUMENTS, PATIENCE, write_report  # noqa: E402

from pytest_qllm.report.html import write  # noqa: E402
from pytest_qllm.report.reader import load_report  # noqa: E402

PAINTED = """new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime))
    .observe({ type: 'largest-contentful-paint', buffered: true }))"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000, help="items of mmlu (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--limit", type=float, default=2000.0, help="of the paint, ms (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        file = write_report(Path(directory), items=options.items)
        start = time.process_time()
        page = write(load_report(file))
        figures = {"written_cpu_s": time.process_time() - start, "megabytes": page.stat().st_size / 1e6}
        rounds = measure(page, options.rounds)
    found = {name: median(one[name] for one in rounds) for name in rounds[0]}
    for name, value in {**figures, **found}.items():
        print(f"{name:<16} {value:10.1f}")
    if options.json:
        options.json.write_text(json.dumps({**figures, "median": found, "rounds": rounds}, indent=2) + "\n")
    slow = found["paint_ms"] > options.limit
    print(f"the largest contentful paint is {'over' if slow else 'within'} {options.limit:g} ms")
    return int(slow)


def measure(file: Path, rounds: int) -> list[Mapping[str, float]]:
    """Milliseconds of each round."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium is installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS, timeout=PATIENCE)
        found = [_round(browser, file) for _ in range(rounds)]
        browser.close()
    return found


def _round(browser: Any, file: Path) -> dict[str, float]:
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(file.as_uri())
    found = {"paint_ms": float(page.evaluate(PAINTED))}
    found["cell_ms"] = _timed(page, "location.hash = '/cell/gptq-2bit/mmlu'", "document.querySelector('.list > li')")
    choose = "document.querySelector('.controls input[value=all]').click()"
    found["filter_ms"] = _timed(page, choose, "document.querySelector('.pages span').textContent.includes('1\u2013')")
    ask = """const box = document.querySelector('.search input'); box.value = 'question 77:';
        box.dispatchEvent(new Event('input'))"""
    found["search_ms"] = _timed(page, ask, "document.querySelectorAll('.list > li').length === 1")
    context.close()
    return found


def _timed(page: Any, act: str, done: str) -> float:
    """Milliseconds in the page from an act until something holds, looked at before each frame."""
    return float(
        page.evaluate(
            f"""new Promise((resolve) => {{
                const start = performance.now();
                {act};
                const look = () => ({done} ? resolve(performance.now() - start) : requestAnimationFrame(look));
                look();
            }})"""
        )
    )


if __name__ == "__main__":
    sys.exit(main())
