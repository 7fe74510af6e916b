"""--qllm-store: what was measured is not measured again, and nothing else is taken for it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import Suite, assert_refused
from pytest_qllm.engine.torch_engine import TorchEngine

CHUNKS = [40, 40, 40]


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on no model can be asked."""

    def forbid(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded again")

    return lambda: monkeypatch.setattr(TorchEngine, "__init__", forbid)


def measurements(suite: Suite) -> list[Path]:
    return sorted((suite.path / "store/measurements").rglob("*.json"))


def again(suite: Suite, **options: object) -> list[int]:
    """Run once more; sizes of the chunks that were measured."""
    suite.scored.clear()
    suite.run(**options)
    return [count for _, count in suite.scored]


def test_a_rerun_measures_nothing_again(suite: Suite, no_engine: Callable[[], None]) -> None:
    suite.gates("lambada", "story_perplexity", "arc_easy")
    suite.run(regimes="bnb-int8,bnb-nf4")
    before = suite.report
    no_engine()
    assert again(suite, regimes="bnb-int8,bnb-nf4") == []
    assert suite.report["verdicts"] == before["verdicts"]
    assert suite.report["baselines"] == before["baselines"]


def test_a_new_regime_measures_only_itself(suite: Suite) -> None:
    suite.run()
    assert again(suite, regimes="bnb-int8,bnb-nf4") == CHUNKS[:1]  # its loss is plain after the first


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "null",
        lambda text: "[]",
        lambda text: '{"content": null}',
        lambda text: text.replace('"acc": 1.0', '"acc": 0.0'),
        lambda text: "\x00" * len(text),
    ],
    ids=["empty", "half", "null", "list", "no sum", "other scores", "zeros"],
)
def test_a_damaged_measurement_is_made_again(suite: Suite, damage: Callable[[str], str]) -> None:
    suite.run()
    before = suite.report["verdicts"]
    victim = measurements(suite)[0]
    intact = victim.read_text()
    victim.write_text(damage(intact))
    assert again(suite) == CHUNKS[:1]
    assert suite.report["verdicts"] == before
    assert victim.read_text() == intact


def test_bytes_that_are_no_text_in_a_measurement(suite: Suite) -> None:
    suite.run()
    measurements(suite)[0].write_bytes(b"\xff\xfe\xff")
    assert again(suite) == CHUNKS[:1]


def test_editing_the_weights_in_place_misses_the_store(suite: Suite) -> None:
    file = suite.own_model() / "model.safetensors"
    suite.run()
    before, stat = suite.verdicts["bnb-int8", "lambada"], file.stat()
    weights = load_file(file)
    weights["lm_head.weight"] = weights["lm_head.weight"].roll(1, dims=0)
    save_file(weights, file, metadata={"format": "pt"})
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_size == stat.st_size
    assert again(suite) == CHUNKS or again(suite) == []
    assert suite.verdicts["bnb-int8", "lambada"]["provenance"]["weights"] != before["provenance"]["weights"]
    assert suite.verdicts["bnb-int8", "lambada"]["baseline"] < before["baseline"]


def test_one_bit_of_the_weights_misses_the_store(suite: Suite) -> None:
    file = suite.own_model() / "model.safetensors"
    suite.run()
    with file.open("r+b") as stream:
        stream.seek(-2, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-2, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    assert again(suite) == CHUNKS * 2


def test_editing_the_configuration_misses_the_store(suite: Suite) -> None:
    file = suite.own_model() / "config.json"
    suite.run()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 1e-5}))
    assert again(suite) == CHUNKS * 2


def test_editing_the_tokenizer_misses_the_store(suite: Suite) -> None:
    file = suite.own_model() / "tokenizer.json"
    suite.run()
    file.write_text(file.read_text() + "\n")
    assert again(suite) == CHUNKS * 2


def test_the_same_model_elsewhere_hits_the_store(suite: Suite, no_engine: Callable[[], None]) -> None:
    suite.run()
    (suite.own_model() / "model.safetensors").touch()
    no_engine()
    assert again(suite) == []


def test_an_artifact_is_made_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.run(max_items=40)
    monkeypatch.setattr("pytest_qllm.regimes.backends.bitsandbytes.build", None)
    assert again(suite, max_items=80) == [40, 40]
    assert suite.verdicts["bnb-int8", "lambada"]["n"] == 80


def test_what_a_killed_write_left_is_passed_over(suite: Suite) -> None:
    suite.run()
    before = suite.report["verdicts"]
    victim = measurements(suite)[0]
    victim.rename(victim.with_name(".half.tmp")).write_text('{"sha": "12')
    assert again(suite) == CHUNKS[:1]
    assert suite.report["verdicts"] == before


def test_what_a_killed_quantization_left_is_thrown_away(suite: Suite) -> None:
    suite.run()
    before = suite.report["verdicts"]
    (artifact,) = (suite.path / "store/artifacts").iterdir()
    unfinished = artifact.rename(artifact.with_name(f".{artifact.name}.unfinished"))
    (unfinished / "model.safetensors").write_bytes(b"half of")
    shutil.rmtree(suite.path / "store/measurements")
    again(suite)
    assert suite.report["verdicts"] == before
    assert [path.name for path in (suite.path / "store/artifacts").iterdir()] == [artifact.name]


def test_a_damaged_artifact(suite: Suite) -> None:
    suite.run()
    (weights,) = (suite.path / "store/artifacts").glob("*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    shutil.rmtree(suite.path / "store/measurements")
    result = suite.run()
    assert "Traceback" not in result.stdout.str()
    assert "site-packages" not in result.stdout.str()
    assert suite.outcomes in ({}, {("bnb-int8", "lambada"): "PASS"})


def test_a_file_in_the_way(suite: Suite) -> None:
    (suite.path / "store").write_text("a file")
    assert_refused(suite.run(), f"cannot write {suite.path / 'store'}", "choose another --qllm-store")


def test_by_default_it_is_in_the_users_cache(suite: Suite) -> None:
    suite.run(store=None)
    assert list((Path.home() / ".cache/pytest-qllm/store/measurements").rglob("*.json"))


def test_a_full_disk_loses_nothing_that_was_measured(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, written = os.fsync, []

    def full(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if "/measurements/" in path:
            written.append(path)
            if len(written) > 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert_refused(suite.run("-k", "fp16"), "the disk of", "is full", "--qllm-store")
    assert suite.report["verdicts"] == []
    assert len(measurements(suite)) == 2
    assert again(suite) == [40, *CHUNKS]
    assert not list((suite.path / "store").rglob("*.tmp"))


def test_other_kernels_of_the_same_model_are_another_measurement(suite: Suite) -> None:
    """The version of the engine is part of the key."""
    suite.run()
    from pytest_qllm import workshop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop, "VERSION", workshop.VERSION + 1)
        assert again(suite) == CHUNKS * 2


def test_scores_do_not_depend_on_the_store(suite: Suite) -> None:
    suite.run()
    first = [path.read_text() for path in measurements(suite)]
    shutil.rmtree(suite.path / "store")
    torch.manual_seed(1234)
    suite.run()
    assert [path.read_text() for path in measurements(suite)] == first
