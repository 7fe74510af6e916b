"""The published JSON Schemas: they are what the code generates, and every report that a session writes validates."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from made import sessions

from pytest_qllm.report import items
from pytest_qllm.report.json import document
from pytest_qllm.report.reader import report_of
from pytest_qllm.report.schema import FILES, encode, main, schema

DOCS = Path(__file__).parents[3] / "docs/reference"


@pytest.mark.parametrize("name", FILES)
def test_the_published_file_is_what_the_code_generates(name: str) -> None:
    generated = encode(schema(name))
    advice = "run: python -m pytest_qllm.report.schema docs/reference, and again with pytest_qllm/report/schemas"
    assert (DOCS / name).read_text() == generated, advice
    assert files("pytest_qllm").joinpath("report/schemas", name).read_text() == generated, advice


@pytest.mark.parametrize("name", FILES)
def test_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_are_written_into_a_directory(tmp_path: Path) -> None:
    main(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)


def plain(content: Any) -> Any:
    """As it stands in a file."""
    return json.loads(json.dumps(content, allow_nan=False))


QLLM = jsonschema.Draft202012Validator(schema("qllm.schema.json"))
ITEMS = jsonschema.Draft202012Validator(schema("items.schema.json"))


@given(sessions())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_report_validates_and_comes_back(session: dict[str, Any]) -> None:
    content = plain(document(**session, scores={"file": "items.json.gz", "sha256": "0"}))
    QLLM.validate(content)
    report = report_of(content, Path("qllm.json"))
    assert report.unknown == ()
    assert plain(report.to_json()) == content


@given(sessions())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_items_validate(session: dict[str, Any]) -> None:
    ITEMS.validate(plain(items.document(session["contents"])))


def valid() -> dict[str, Any]:
    return plain(document([], [], {"time": "2026-01-02T03:04:05+00:00"}))


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "pytest-qllm/2"},
        {"verdicts": [{"verdict": "GREAT"}]},
        {"errors": None},
        {"provenance": {}},
        {"exitstatus": "0"},
    ],
    ids=str,
)
def test_a_damaged_report_does_not_validate(damage: dict[str, Any]) -> None:
    QLLM.validate(valid())
    with pytest.raises(jsonschema.ValidationError):
        QLLM.validate({**valid(), **damage})


def test_what_came_later_is_let_through() -> None:
    QLLM.validate({**valid(), "novelty": 1})
