"""For mkdocs: tables of the reference are made from the code, and a page that would fetch anything fails the build.

``python docs/mkdocs_hooks.py`` writes the tables into the pages, for those who read them without building the site.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

PAGES = Path(__file__).parent
BLOCK = re.compile(r"(<!-- made from the code: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
REMEDY = "write them anew with: python docs/mkdocs_hooks.py"

log = logging.getLogger("mkdocs.hooks")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with its tables as the code is now; a page that has others is a warning, which --strict refuses."""
    made = renewed(markdown)
    if made != markdown:
        log.warning("%s has tables that are not the code's; %s", page.file.src_uri, REMEDY)
    return made


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn of everything that a browser would fetch from another host to show the page."""
    for address in fetched(output):
        log.warning("%s fetches %s", page.file.src_uri, address)
    return output


def renewed(markdown: str) -> str:
    """A page with every block made from the code anew.

    Raises:
        KeyError: for a block that nothing makes.
    """
    return BLOCK.sub(lambda found: found[1] + "\n" + "\n".join(MAKERS[found["name"]]()) + "\n\n" + found[4], markdown)


def fetched(html: str) -> list[str]:
    """Addresses on other hosts that a browser loads with this page: scripts, styles, pictures, frames."""
    reader = _Loads()
    reader.feed(html)
    return reader.found


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loaded = [given.get("src"), given.get("srcset"), given.get("poster")]
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            loaded.append(given.get("href"))
        self.found += [address for address in loaded if address and re.match(r"(?i)([a-z]+:)?//", address)]


def options() -> Iterable[str]:
    from pytest_qllm.options import OPTIONS

    rows = []
    for option in OPTIONS:
        flag = option.flag if option.is_switch else f"{option.flag}={option.metavar}"
        default = ("off" if option.is_switch else _code(option.default)) if option.default else ""
        values = "" if option.is_switch or not option.choices else f" ({', '.join(map(_code, option.choices))})"
        rows.append((_code(flag), _code(option.ini), default, option.help + values))
    return _table(("option", "ini", "default", "meaning"), rows)


def markers() -> Iterable[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--markers"]
    shown = subprocess.run(command, cwd=PAGES, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^@pytest\.mark\.(qllm_\w+\([^)]*\)): (.*)$", shown, re.MULTILINE)
    return _table(("marker", "meaning"), [(_code(f"@pytest.mark.{name}"), meaning) for name, meaning in found])


def regimes() -> Iterable[str]:
    from pytest_qllm.regimes.catalog import ALIASES, RegimeCatalog

    rows = []
    for regime in RegimeCatalog():
        others = ", ".join(_code(alias) for alias, name in ALIASES.items() if name == regime.name)
        recipe = ", ".join(f"{name} {_plain(value)}" for name, value in regime.options.items())
        scored = "" if regime.is_baseline else "dense weights" if regime.weight_only else "its own kernels"
        name = _code(regime.name) + (f" (or {others})" if others else "")
        rows.append((name, regime.method, regime.bits, scored, recipe, _code(regime.extra)))
    return _table(("name", "method", "bits", "scored through", "recipe", "extra"), rows)


def benchmarks() -> Iterable[str]:
    from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog

    rows = [
        (
            _code(benchmark.name),
            benchmark.dimension,
            _code(benchmark.task),
            _code(benchmark.metric),
            benchmark.items,
            benchmark.quick,
            benchmark.paper or "",
            "yes" if benchmark.chat or benchmark.form == "dialogue" else "",
            _code(benchmark.data_name),
        )
        for benchmark in BenchmarkCatalog()
    ]
    numbers = ("items", "of the built-in model", "paper")
    columns = ("name", "dimension", "lm-eval task file", "metric", *numbers, "chat", "data")
    return _table(columns, rows)


def data() -> Iterable[str]:
    from pytest_qllm.benchmarks.data.known import KNOWN
    from pytest_qllm.benchmarks.data.manifest import known_manifests

    rows = []
    for known in KNOWN.values():
        manifests = known_manifests().get(known.name, ())
        checked = "; ".join(
            f"{one.source}: " + ", ".join(f"{split} {one.count(split)}" for split in known.splits if one.count(split))
            for one in manifests
        )
        hub = known.hub
        repo = _code(hub.repo) if hub is not None else ""
        revision = _code((hub.revision or "")[:12]) if hub is not None else ""
        rows.append((_code(known.name), ", ".join(known.splits), known.licence, repo, revision, checked))
    return _table(("name", "splits", "licence", "hub", "revision", "manifests: source and items"), rows)


def exit_codes() -> Iterable[str]:
    return _table(("code", "when"), [(f"{code.value}", WHEN[code.name]) for code in pytest.ExitCode])


WHEN = {
    "OK": "no test failed: every gate passed, was skipped, or is an xfail; or `--qllm-plan` found nothing "
    "wrong with a gate, or `--qllm-fetch` brought everything",
    "TESTS_FAILED": "a gate is FAIL or INCONCLUSIVE, could not be answered, or another test failed",
    "INTERRUPTED": "Ctrl-C, or an error while collecting; what was measured is in the store",
    "INTERNAL_ERROR": "a fault of pytest or of a plugin: please report it",
    "USAGE_ERROR": "a wrong option, ini value, TOML table, or name of a regime; nothing has run",
    "NO_TESTS_COLLECTED": "no test was selected",
    "MAX_WARNINGS_ERROR": "more warnings than pytest's `--max-warnings` allows",
}
"""What each of pytest's exit codes says of a session with gates."""

MAKERS: dict[str, Callable[[], Iterable[str]]] = {
    "benchmarks": benchmarks,
    "data": data,
    "exit-codes": exit_codes,
    "markers": markers,
    "options": options,
    "regimes": regimes,
}


def _table(columns: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    head = [str(column) for column in columns]
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_plain(entry)}" for name, entry in value.items()) + ")"
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    for page in sorted(PAGES.rglob("*.md")):
        old = page.read_text()
        new = renewed(old)
        if new != old:
            page.write_text(new)
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
