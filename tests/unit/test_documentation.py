"""The pages say what the code does: tables, options, commands and snippets are held to it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from follow import Block, blocks, follow
from mkdocs_hooks import BLOCK, MAKERS, fetched, renewed

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.cli import main
from pytest_qllm.options import OPTIONS
from pytest_qllm.regimes.catalog import ALIASES, ENTRY_POINTS, RegimeCatalog
from pytest_qllm.verdict.expected import ExpectedLosses
from pytest_qllm.verdict.tolerance import Tolerances

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BENCHMARKS = {benchmark.name: benchmark.kind for benchmark in BenchmarkCatalog()}
OTHERS = {"tickets": "accuracy"}
"""Benchmarks that a page adds."""


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(language: str) -> list:
    found = [(page, block) for page in PAGES for block in blocks(page.read_text()) if block.language == language]
    return [pytest.param(block.body, id=f"{page_id(page)}-{at}") for at, (page, block) in enumerate(found)]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_tables_are_those_of_the_code(page):
    assert renewed(page.read_text()) == page.read_text(), "write them anew with: python docs/mkdocs_hooks.py"


@pytest.mark.parametrize("name", MAKERS)
def test_every_table_is_on_a_page_and_has_rows(name):
    bodies = [found["body"] for page in PAGES for found in BLOCK.finditer(page.read_text()) if found["name"] == name]
    assert len(bodies) == 1
    assert bodies[0].count("\n|") > 2


def test_a_table_that_is_out_of_date_is_seen():
    page = (ROOT / "docs/reference/options.md").read_text()
    assert renewed(page.replace("`--qllm-seed=SEED`", "`--qllm-seeds=SEED`")) == page


def test_every_option_has_a_row_with_its_default():
    page = (ROOT / "docs/reference/options.md").read_text()
    for option in OPTIONS:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{option.flag}"))
        assert f"`{option.ini}`" in row
        assert option.is_switch or f"`{option.default}`" in row or not option.default


def test_every_marker_has_a_row():
    page = (ROOT / "docs/reference/tests.md").read_text()
    assert "| `@pytest.mark.qllm_items(n)` |" in page
    assert "| `@pytest.mark.qllm_tolerance(value)` |" in page


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_options_that_a_page_names_are_there(page):
    named = set(re.findall(r"--qllm-[a-z][a-z-]*[a-z]", page.read_text()))
    named |= {f"--qllm-{name.replace('_', '-')}" for name in re.findall(r"^qllm_(\w+) *=", page.read_text(), re.M)}
    assert named <= {option.flag for option in OPTIONS}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_regimes_that_a_page_names_are_there(page):
    chosen = re.findall(r"--qllm-regimes[= ]([\w,-]+)", page.read_text())
    known = {regime.name for regime in RegimeCatalog()} | set(ALIASES) | {"NAMES", "rounded-4bit", "thirds"}
    assert {name for names in chosen for name in names.split(",")} <= known


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_subcommands_that_a_page_names_are_there(page, capsys):
    text = page.read_text()
    code = [*re.findall(r"`([^`\n]+)`", text), *(block.body for block in blocks(text))]
    for command in sorted({name for one in code for name in re.findall(r"\bpytest-qllm ([a-z]+)", one)}):
        with pytest.raises(SystemExit, match=r"^0$"):
            main([command, "--help"])


@pytest.mark.parametrize("body", snippets("python"))
def test_python_compiles(body):
    ast.parse(body)


@pytest.mark.parametrize("body", snippets("toml"))
def test_toml_is_what_a_session_takes(body):
    content = tomllib.loads(body)
    if "project" in content:  # of a package that adds a regime
        assert set(content["project"]["entry-points"]) <= {ENTRY_POINTS, "pytest11"}
        return
    options = content["tool"].get("pytest", {}).get("ini_options", {})
    assert set(options) <= {option.ini for option in OPTIONS}
    tables = content["tool"].get("qllm", {})
    assert set(tables) <= {"tolerances", "expected", "regimes"}
    assert options or tables
    kinds = BENCHMARKS | OTHERS
    Tolerances.from_toml(tables.get("tolerances", {}), kinds, "page")
    catalog = RegimeCatalog(tables=tables.get("regimes", {}))
    ExpectedLosses.from_toml(tables.get("expected", {}), lambda name: catalog.get(name).name, kinds, "page")


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        '<link href="https://fonts.example" rel="preconnect">',
        '<img src="HTTPS://example/badge.svg" alt="">',
        '<iframe src="http://example"></iframe>',
    ],
)
def test_what_a_page_would_fetch_is_seen(tag):
    assert len(fetched(f"<html>{tag}</html>")) == 1


@pytest.mark.parametrize(
    "tag", ['<a href="https://example">link</a>', '<script src="../assets/a.js"></script>', '<img src="image.png">']
)
def test_links_and_own_files_are_not_fetched(tag):
    assert fetched(tag) == []


def test_a_page_is_followed(tmp_path):
    page = (
        '```python title="a/b.py"\nx = 1\n```\n\ntext\n\n'
        "<!-- from: three -->\n```console\n$ count\nold\n```\n\n```console\n$ one\n$ two\n```\n"
    )
    said = {"count": "one\ntwo\nthree  \nfour\n", "one": "1\n", "two": ""}
    made = follow(page, tmp_path, said.__getitem__)
    assert (tmp_path / "a/b.py").read_text() == "x = 1\n"
    assert made == page.replace("old\n", "...\nthree\nfour\n").replace("$ one\n", "$ one\n1\n")
    with pytest.raises(ValueError, match="no line has 'three'"):
        follow(page, tmp_path, lambda _: "one\n")


def test_commands_of_a_block():
    assert Block("console", "", "$ one\n1\n$ two\n", "").commands == ["one", "two"]
    assert Block("", "", "one\ntwo\n", "").commands == ["one", "two"]
    assert Block("python", "", "x = 1\n", "").commands == []
