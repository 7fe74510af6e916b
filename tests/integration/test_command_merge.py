"""`pytest-qllm merge`: shards of one run are the run, and whatever is not one run is refused by name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from conftest import Suite
from pytest_qllm import load_report
from pytest_qllm.cli import main
from pytest_qllm.report.schema import schema

OWN = ("time", "settings", "shards")
"""What differs between a run in one session and in two: when, where, and of what it was merged."""


def sharded(suite: Suite, *regimes: str, **options: Any) -> list[str]:
    """One report for each regime, as that many machines would leave it."""
    for regime in regimes:
        suite.run(**{"regimes": regime, "report": f"shard-{regime}", **options})
    return [f"shard-{regime}" for regime in regimes]


def plain(content: dict[str, Any]) -> dict[str, Any]:
    provenance = {name: value for name, value in content["provenance"].items() if name not in OWN}
    return {**content, "provenance": provenance}


def edited(path: str, **fields: Any) -> None:
    file = Path(path) / "qllm.json"
    content = json.loads(file.read_text())
    for name, value in fields.items():
        *places, last = name.split("__")
        inner = content
        for place in places:
            inner = inner[int(place)] if place.isdecimal() else inner[place]
        inner[last] = value
    file.write_text(json.dumps(content))


@pytest.fixture
def shards(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    suite.gates("lambada", "story_perplexity")
    return sharded(suite, "bnb-int8", "bnb-nf4")


def test_two_shards_are_one_run(suite: Suite, shards: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    suite.run(report="whole")
    capsys.readouterr()
    assert main(["merge", *shards, "--into", "merged"]) == 1
    whole, merged = (json.loads((suite.path / name / "qllm.json").read_text()) for name in ("whole", "merged"))
    assert plain(merged) == plain(whole)
    for name in ("items.json.gz", "texts.json.gz"):
        assert (suite.path / "merged" / name).read_bytes() == (suite.path / "whole" / name).read_bytes()
    assert merged["provenance"]["settings"]["regimes"] == ["bnb-int8", "bnb-nf4"]
    told = [(shard["file"], shard["regimes"]) for shard in merged["provenance"]["shards"]]
    assert told == [("shard-bnb-int8/qllm.json", ["bnb-int8"]), ("shard-bnb-nf4/qllm.json", ["bnb-nf4"])]
    assert "## Quantization" in (suite.path / "merged/qllm.md").read_text()
    jsonschema.validate(merged, schema("qllm.schema.json"))
    single = json.loads(gzip.decompress((suite.path / "merged/items.json.gz").read_bytes()))
    jsonschema.validate(single, schema("items.schema.json"))
    texts = json.loads(gzip.decompress((suite.path / "merged/texts.json.gz").read_bytes()))
    jsonschema.validate(texts, schema("texts.schema.json"))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["bnb-nf4", "FAIL", "-30.0"] for line in lines)
    assert lines[-3:-1] == ["report: merged/qllm.json, of 2 shards", "page: merged/qllm.html"]
    # The same again, of a report that was merged and a shard that is in it.
    assert main(["merge", "merged", shards[0], "--into", "again"]) == 1
    again = json.loads((suite.path / "again/qllm.json").read_text())
    assert plain(again) == plain(merged)
    assert again["provenance"]["shards"] == merged["provenance"]["shards"]


def test_what_differs_is_refused_by_name(
    suite: Suite, shards: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = suite.path / shards[1] / "qllm.json"
    before = file.read_text()
    capsys.readouterr()
    for fields, words in (
        ({"provenance__settings__seed": 7}, ("--qllm-seed: 0 and 7", *shards)),
        ({"provenance__settings__dtype": "bfloat16"}, ("--qllm-dtype: 'float32' and 'bfloat16'", *shards)),
        ({"provenance__settings__alpha": 0.01}, ("--qllm-alpha: 0.05 and 0.01", *shards)),
        ({"provenance__versions__torch": "1.0"}, ("version of torch", "'1.0'", *shards)),
        ({"verdicts__0__model": "other"}, ("model", "'other'", *shards)),
        ({"verdicts__0__provenance__weights": "x"}, ("other weights", "'x'", *shards)),
        ({"baselines__0__baseline": 0.5, "baselines__0__n": 120}, ("fp16 on lambada", "another baseline", *shards)),
        ({"novelty": 1}, ("fields of a later pytest-qllm (novelty)",)),
        ({"schema": "pytest-qllm/9"}, ("'pytest-qllm/9'", "install a later pytest-qllm")),
    ):
        edited(shards[1], **fields)
        assert main(["merge", *shards, "--into", "merged"]) == 2, fields
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("pytest-qllm: ")
        assert len(told.err.splitlines()) == 1
        assert all(word in told.err for word in words), told.err
        file.write_text(before)
    assert not (suite.path / "merged").exists()


def test_other_items_are_refused(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    shards = [*sharded(suite, "bnb-int8"), *sharded(suite, "bnb-nf4", seed=3)]
    edited(
        shards[1],
        provenance__settings__seed=0,
        **{f"{kind}__0__provenance__seed": 0 for kind in ("baselines", "verdicts")},
    )
    capsys.readouterr()
    assert main(["merge", *shards, "--into", "merged"]) == 2
    told = capsys.readouterr().err
    assert "did not measure the same items of lambada" in told
    assert all(shard in told for shard in shards)


def test_a_verdict_that_was_given_twice_and_otherwise_is_refused(
    suite: Suite, shards: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    suite.run(regimes="bnb-nf4", report="again")
    edited("again", verdicts__0__tolerance=0.5)
    capsys.readouterr()
    assert main(["merge", *shards, "again", "--into", "merged"]) == 2
    told = capsys.readouterr().err
    assert "bnb-nf4 on lambada is in shard-bnb-nf4/qllm.json and in again/qllm.json, with another tolerance" in told


def test_the_exit_status_is_that_of_the_run(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    (passing,) = sharded(suite, "bnb-int8")
    assert load_report(passing).exitstatus == 0
    assert main(["merge", passing, "--into", "merged"]) == 0
    edited(passing, exitstatus=2)
    assert main(["merge", passing, "--into", "merged"]) == 1, "interrupted: not every test has run"


def test_a_shard_is_not_overwritten(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    suite.run(regimes="bnb-int8")
    before = (suite.path / "reports/qllm.json").read_bytes()
    assert main(["merge", "reports"]) == 2
    assert "--into reports would overwrite reports/qllm.json" in capsys.readouterr().err
    assert (suite.path / "reports/qllm.json").read_bytes() == before


def test_items_that_are_gone_are_missed(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    suite.gates("lambada")
    shards = sharded(suite, "bnb-int8")
    (suite.path / shards[0] / "items.json.gz").unlink()
    assert main(["merge", *shards, "--into", "merged"]) == 2
    assert "items.json.gz cannot be read" in capsys.readouterr().err
