"""Reading a report back: what was written comes back, and what is no report is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import pytest_qllm
from pytest_qllm.errors import QllmError
from pytest_qllm.report.items import Scores
from pytest_qllm.report.json import SCHEMA, write
from pytest_qllm.report.reader import COLUMNS, Report, load_report
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.expected import Acceptance

BASELINE = Record(
    "m",
    "fp16",
    "none",
    16,
    "piqa",
    "knowledge",
    "acc",
    "difference",
    4,
    0.75,
    noise={"items": 2, "largest": 0.1, "flips": 0, "expected_flips": 0.01, "floor": 0.0},
    scores=Scores(list("abcd"), [1, 1, 1, 0]).to_json(),
    provenance={"weights": "w"},
)
VERDICT = replace(
    BASELINE,
    regime="bnb-nf4",
    method="NF4",
    bits=4,
    outcome="FAIL",
    candidate=0.5,
    effect=-0.25,
    ci=[-0.5, 0.1],
    alphas=[0.05, 0.045],
    interval="exact (Buehler, Tango)",
    tolerance=0.04,
    broken=1,
    mended=0,
    planned=4,
    looks=1,
    p_pass=0.9,
    p_fail=0.02,
    expected=Acceptance("for tests", 0.4, True, "undecided", n=4, ci=[-0.5, 0.1]),
    scores=Scores(list("abcd"), [1, 1, 1, 0], [1, 1, 0, 0]).to_json(),
    rerun="pytest 't.py::test_piqa[bnb-nf4]'",
)
ERROR = {"test": "t.py::test_boolq[bnb-fp4]", "regime": "bnb-fp4", "message": "no"}
PROVENANCE = {
    "time": "2026-01-02T03:04:05+00:00",
    "settings": {"regimes": ["auto-gptq-4bit", "bnb-nf4", "bnb-fp4"], "seed": 0},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "qllm.json"
    write(file, [record.to_json() for record in (VERDICT, BASELINE)], [ERROR], PROVENANCE, exitstatus=1)
    return file


def test_what_was_written_comes_back(path: Path) -> None:
    report = load_report(path)
    assert report.baselines == (replace(BASELINE, scores=None),)
    assert report.verdicts == (replace(VERDICT, scores=None, p_pass_holm=0.9, p_fail_holm=0.02),)
    assert [error.regime for error in report.errors] == ["bnb-fp4"]
    assert (report.session.judged, report.session.failed, report.alpha) == (1, 1, 0.05)
    assert (report.exitstatus, report.unknown, report.path) == (1, (), path)
    assert report.to_json() == json.loads(path.read_text())


def test_regimes_are_in_the_order_in_which_they_were_asked_for(path: Path) -> None:
    assert load_report(path).regimes == ("fp16", "gptq-4bit", "bnb-nf4", "bnb-fp4")


def test_a_directory_will_do(path: Path) -> None:
    assert load_report(str(path.parent)) == load_report(path)


def test_items_are_read_when_they_are_asked_for(path: Path) -> None:
    (table,) = load_report(path).items
    assert (table.benchmark, table.metric, table.items) == ("piqa", "acc", ("a", "b", "c", "d"))
    assert table.scores == {"bnb-nf4": (1, 1, 0, 0), "fp16": (1, 1, 1, 0)}
    report = load_report(path)
    (path.parent / "items.json.gz").unlink()
    assert report.verdicts
    with pytest.raises(QllmError, match=r"items\.json\.gz cannot be read .*keep it beside"):
        _ = report.items


def test_other_items_are_refused(path: Path) -> None:
    sidecar = path.parent / "items.json.gz"
    sidecar.write_bytes(sidecar.read_bytes()[:-1])
    with pytest.raises(QllmError, match="not the file that was written with"):
        _ = load_report(path).items


def test_without_items_there_are_none(tmp_path: Path) -> None:
    write(tmp_path / "qllm.json", [], [ERROR], PROVENANCE)
    assert load_report(tmp_path).items == ()


def test_the_frame_has_a_row_for_each_verdict(path: Path) -> None:
    frame = load_report(path).frame()
    assert tuple(frame.columns) == COLUMNS
    (row,) = frame.to_dict("records")
    assert (row["regime"], row["verdict"], row["ci_low"], row["ci_high"], row["broken"]) == (
        "bnb-nf4",
        "FAIL",
        -0.5,
        0.1,
        1,
    )


def test_an_empty_frame_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path / "qllm.json", [], [ERROR], PROVENANCE)
    assert tuple(load_report(tmp_path).frame().columns) == COLUMNS


def test_fields_of_a_later_version_are_passed_over_and_named(path: Path) -> None:
    content = json.loads(path.read_text())
    content["novelty"] = {"a": 1}
    content["verdicts"][0]["color"] = "red"
    content["verdicts"][0]["expected"]["until"] = "2027"
    content["baselines"][0]["noise"]["seed"] = 3
    path.write_text(json.dumps(content))
    report = load_report(path)
    assert report.verdicts[0].outcome == "FAIL"
    assert set(report.unknown) == {"novelty", "verdicts.color", "verdicts.expected.until", "baselines.noise.seed"}


def test_fields_that_came_later_may_be_missing(path: Path) -> None:
    content = json.loads(path.read_text())
    del content["exitstatus"], content["session"], content["verdicts"][0]["rerun"]
    path.write_text(json.dumps(content))
    report = load_report(path)
    assert (report.exitstatus, report.verdicts[0].rerun, report.session.failed) == (None, "", 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no qllm.json of pytest-qllm, or was cut off"),
        ('{"schema": "pytest-qllm/1", ', "is no qllm.json of pytest-qllm, or was cut off"),
        ("[1]", "has no schema; expected 'pytest-qllm/1'"),
        ('{"schema": "pytest-qllm-items/1"}', "expected 'pytest-qllm/1'"),
        ('{"schema": "pytest-qllm/2"}', "has the schema 'pytest-qllm/2'.* install a later pytest-qllm"),
        ('{"schema": "pytest-qllm/1"}', "is damaged or no qllm.json.*missing required field"),
        ("\x80", "is no qllm.json"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(QllmError, match=rf"^{tmp_path}/x\.json .*{words}") as caught:
        load_report(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(QllmError, match=r"qllm\.json cannot be read \(No such file or directory\); expected"):
        load_report(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("verdicts", 0, "n"), "many", r"Expected `int`, got `str` - at `\$\.verdicts\[0\]\.n`"),
        (("verdicts", 0, "verdict"), "GREAT", "Invalid enum value 'GREAT'"),
        (("verdicts", 0, "ci"), 3, r"at `\$\.verdicts\[0\]\.ci`"),
        (("provenance", "time"), None, r"\$\.provenance\.time"),
        (("errors",), {}, r"\$\.errors"),
    ],
)
def test_a_damaged_field_is_named(path: Path, place: tuple[str | int, ...], value: object, words: str) -> None:
    content = json.loads(path.read_text())
    inner = content
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(QllmError, match=words):
        load_report(path)


def test_is_the_packages_own_and_needs_no_torch(path: Path) -> None:
    assert pytest_qllm.load_report is load_report
    assert pytest_qllm.Report is Report
    assert SCHEMA == "pytest-qllm/1"
    program = (
        "import sys, pytest_qllm; before = 'msgspec' in sys.modules; "
        f"pytest_qllm.load_report({str(path)!r}).items; "
        "print(before, [name for name in ('torch', 'transformers', 'pandas', 'pytest') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False []"
