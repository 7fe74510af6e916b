"""--junit-xml: what GitLab, Jenkins and actions of GitHub read of a gate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import answers
import pytest

from conftest import IMPORTED_BEFORE

CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "testcase": {"properties", "skipped", "error", "failure", "system-out", "system-err"},
    "properties": {"property"},
}
"""Elements of pytest's xunit2 family, and those within them."""

ATTRIBUTES = {
    "testsuites": {"name"},
    "testsuite": {"name", "errors", "failures", "skipped", "tests", "time", "timestamp", "hostname"},
    "testcase": {"classname", "name", "time"},
    "property": {"name", "value"},
    "failure": {"message"},
    "error": {"message"},
    "skipped": {"type", "message"},
}


@pytest.fixture
def root(pytester: pytest.Pytester) -> ElementTree.Element:
    answers.write(pytester, *answers.VERDICTS, "broken")
    return written(pytester)


def written(pytester: pytest.Pytester, *arguments: str) -> ElementTree.Element:
    run = (*arguments, "--junit-xml=junit.xml", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    pytester.runpytest_inprocess(*run, *IMPORTED_BEFORE)
    return ElementTree.parse(pytester.path / "junit.xml").getroot()


def cases(root: ElementTree.Element) -> Iterator[tuple[str, ElementTree.Element, dict[str, str]]]:
    for case in root.iter("testcase"):
        yield case.attrib["name"], case, {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}


def verdicts(pytester: pytest.Pytester) -> dict[tuple[str, str], dict[str, Any]]:
    report = json.loads((pytester.path / "reports/qllm.json").read_text())
    return {(verdict["regime"], verdict["benchmark"]): verdict for verdict in report["verdicts"]}


def test_the_structure_is_that_of_xunit2_whatever_a_model_is_called(root: ElementTree.Element) -> None:
    for parent in root.iter():
        assert {child.tag for child in parent} <= CHILDREN.get(parent.tag, set())
        assert set(parent.attrib) <= ATTRIBUTES.get(parent.tag, set())
    (suite,) = root.iter("testsuite")
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 10, "failures": 4, "errors": 0, "skipped": 1}


def test_the_verdicts_are_those_of_the_report(root: ElementTree.Element, pytester: pytest.Pytester) -> None:
    told = {
        (properties["qllm.regime"], properties["qllm.benchmark"]): properties["qllm.verdict"]
        for _, _, properties in cases(root)
        if "qllm.verdict" in properties
    }
    assert told == {place: verdict["verdict"] for place, verdict in verdicts(pytester).items()}
    assert sorted(told.values()) == sorted(answers.VERDICTS.values())


def test_figures_are_the_report_s_and_a_bound_that_is_none_is_left_out(
    root: ElementTree.Element, pytester: pytest.Pytester
) -> None:
    found = verdicts(pytester)
    for name, _, properties in cases(root):
        if name in ("test_lost[bnb-int8]", "test_open[bnb-int8]"):
            verdict = found["bnb-int8", properties["qllm.benchmark"]]
            assert float(properties["qllm.effect"]) == verdict["effect"]
            bounds = [properties.get(f"qllm.{bound}") for bound in ("ci_low", "ci_high")]
            assert [None if bound is None else float(bound) for bound in bounds] == verdict["ci"]


def test_the_first_line_of_a_failure_says_the_verdict(root: ElementTree.Element) -> None:
    first = {
        name: failure.attrib["message"].splitlines()[0]
        for name, case, _ in cases(root)
        if (failure := case.find("failure")) is not None
    }
    assert set(first) == {"test_lost[bnb-int8]", "test_open[bnb-int8]", "test_broken[fp16]", "test_broken[bnb-int8]"}
    assert first["test_lost[bnb-int8]"].startswith("Failed: FAIL: lost on bnb-int8 (M, 8 bits) of <script>alert('m')")
    assert first["test_lost[bnb-int8]"].endswith(": a loss of more than 3 points is proven")
    assert first["test_open[bnb-int8]"].endswith(": a loss of more than 3 points is neither proven nor ruled out")
    assert first["test_broken[fp16]"].startswith("Failed: broken[fp16]: cannot be measured: ")


def test_the_element_s_text_is_the_whole_message(root: ElementTree.Element) -> None:
    (text,) = [str(case.findtext("failure")) for name, case, _ in cases(root) if name == "test_lost[bnb-int8]"]
    rows = [line.split()[0] for line in text.splitlines()[1:]]
    assert rows == ["baseline", "candidate", "effect", "tolerance", "items", "rerun"]


def test_a_skip_says_why(root: ElementTree.Element) -> None:
    (skipped,) = root.iter("skipped")
    assert skipped.attrib["message"].startswith("NO_SIGNAL: too near chance: <script>")


def test_nothing_in_it_steers_a_terminal(root: ElementTree.Element, pytester: pytest.Pytester) -> None:
    text = (pytester.path / "junit.xml").read_text()
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert "<script>" not in text


def test_a_worker_s_properties_are_the_same(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    answers.write(pytester)
    told = [{name: properties for name, _, properties in cases(written(pytester, *way))} for way in ((), ("-n1",))]
    assert told[0] == told[1]
