"""qllm.json: what is in it, and that any JSON reader can read it."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.options import Settings
from pytest_qllm.report.json import SCHEMA, document, write
from pytest_qllm.report.record import Record

BASELINE = Record(
    "m", "fp16", "none", 16, "piqa", "knowledge", "acc", "difference", 200, 0.65, provenance={"weights": "a"}
)
VERDICT = replace(
    BASELINE,
    regime="bnb-nf4",
    method="NF4",
    bits=4,
    outcome="PASS",
    candidate=0.655,
    effect=0.005,
    ci=(-0.02, 0.03),
    alphas=(0.05, 0.045),
    interval="Tango score",
    tolerance=0.04,
    broken=5,
    mended=6,
    planned=200,
)
ERROR = {"test": "t.py::test_piqa[bnb-fp4]", "regime": "bnb-fp4", "message": "no"}
PROVENANCE = {"python": "3.12", "settings": {"seed": 0}}


def made(*records: Record, errors=(), provenance=PROVENANCE):
    return document([record.to_json() for record in records], errors, provenance)


def strict(text: str):
    """As a reader that follows RFC 8259, in which there is neither NaN nor Infinity."""

    def refuse(constant: str):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_baselines_verdicts_and_errors_are_apart():
    content = made(BASELINE, VERDICT, errors=[ERROR])
    assert list(content) == [
        "schema",
        "provenance",
        "exitstatus",
        "items",
        "texts",
        "baselines",
        "verdicts",
        "session",
        "pooled",
        "kernels",
        "errors",
    ]
    assert content["schema"] == SCHEMA == "pytest-qllm/1"
    assert content["provenance"] == PROVENANCE
    assert [one["benchmark"] for one in content["baselines"]] == ["piqa"]
    assert [one["regime"] for one in content["verdicts"]] == ["bnb-nf4"]
    assert content["errors"] == [ERROR]


def test_a_baseline_is_its_score():
    assert made(BASELINE)["baselines"] == [
        {
            "model": "m",
            "benchmark": "piqa",
            "dimension": "knowledge",
            "metric": "acc",
            "scale": "difference",
            "n": 200,
            "baseline": 0.65,
            "noise": None,
            "hit_limit": None,
            "against": None,
            "pooled": None,
            "size": None,
            "rerun": "",
            "provenance": {"weights": "a"},
        }
    ]


def test_a_verdict_has_its_evidence():
    (verdict,) = made(VERDICT)["verdicts"]
    assert verdict["verdict"] == "PASS"
    assert verdict["flips"] == {"broken": 5, "mended": 6}
    assert verdict["ci"] == [-0.02, 0.03]
    assert verdict["alphas"] == [0.05, 0.045]
    assert (verdict["n"], verdict["planned"], verdict["tolerance"]) == (200, 200, 0.04)
    assert not {"outcome", "broken", "mended"} & set(verdict)


def test_a_verdict_without_evidence_has_nulls():
    (verdict,) = made(replace(BASELINE, regime="bnb-nf4", outcome="NO_SIGNAL", reason="near chance"))["verdicts"]
    assert (verdict["effect"], verdict["ci"], verdict["reason"]) == (None, None, "near chance")


def test_is_written_into_a_folder_that_is_made(tmp_path):
    write(tmp_path / "a" / "b" / "qllm.json", [VERDICT.to_json()], [ERROR], PROVENANCE)
    assert strict((tmp_path / "a" / "b" / "qllm.json").read_text()) == made(VERDICT, errors=[ERROR])


def test_an_open_interval_is_written_as_null(tmp_path):
    one_document = replace(VERDICT, scale="ratio", outcome="INCONCLUSIVE", ci=(0.0, float("inf")))
    write(tmp_path / "qllm.json", [one_document.to_json()], [], PROVENANCE)
    assert strict((tmp_path / "qllm.json").read_text())["verdicts"][0]["ci"] == [0.0, None]


def test_a_tolerance_that_is_no_number_does_not_lose_the_report(tmp_path):
    given = dict.fromkeys((field.name for field in fields(Settings)), "")
    settings = Settings(**{**given, "tolerances": {"accuracy": {"4": float("nan")}}, "store": tmp_path, "regimes": ()})
    write(tmp_path / "qllm.json", [BASELINE.to_json()], [ERROR], {"settings": settings.to_json()})
    assert "nan" in str(strict((tmp_path / "qllm.json").read_text())["provenance"]["settings"]["tolerances"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_never_written(tmp_path, value):
    broken = replace(VERDICT, effect=value).to_json()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "qllm.json", [broken], [], PROVENANCE)
    assert not (tmp_path / "qllm.json").exists()


def test_a_report_that_cannot_be_written_keeps_the_one_that_was_there(tmp_path):
    file = tmp_path / "qllm.json"
    write(file, [VERDICT.to_json()], [], PROVENANCE)
    before = file.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(file, [replace(VERDICT, effect=float("nan")).to_json()], [], PROVENANCE)
    assert file.read_text() == before


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(QllmError) as refused:
        write(tmp_path / "file" / "qllm.json", [], [], PROVENANCE)
    assert str(refused.value).startswith(f"cannot write {Path(tmp_path / 'file' / 'qllm.json')}")
    assert str(refused.value).endswith("choose another --qllm-report")
    assert "\n" not in str(refused.value)
