"""What is refused as a model, each in one line, and that no edit of a checkpoint goes unseen."""

from __future__ import annotations

import errno
import json
import os
import struct
import time
from pathlib import Path

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.models import loader, source
from pytest_qllm.models.source import resolve
from pytest_qllm.store import Store

CONFIG = {"model_type": "llama", "hidden_size": 4, "transformers_version": "5.0"}


@pytest.fixture
def cache(tmp_path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def model(tmp_path) -> Path:
    """The smallest directory that looks like a checkpoint."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text('{"model": {}}')
    (folder / "model.safetensors").write_bytes(safetensors(b"\x01\x02" * 8))
    return folder


def safetensors(data: bytes, name: str = "weight") -> bytes:
    """One half-precision tensor in the format's own layout."""
    header = {name: {"dtype": "F16", "shape": [len(data) // 2], "data_offsets": [0, len(data)]}}
    return framed(json.dumps(header).encode()) + data


def framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def sharded(folder: Path) -> None:
    """Two shards and their index in place of the one file."""
    (folder / "model.safetensors").unlink()
    names = {f"w{at}": f"model-0000{at}-of-00002.safetensors" for at in (1, 2)}
    for tensor, name in names.items():
        (folder / name).write_bytes(safetensors(b"\x01\x02" * 8, tensor))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def refusal(name: Path | str, cache: Store) -> str:
    with pytest.raises(QllmError) as refused:
        resolve(str(name), cache)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_a_directory_is_taken_as_it_is(model, cache):
    checkpoint = resolve(str(model), cache)
    assert (checkpoint.name, checkpoint.path) == (str(model), model)
    assert checkpoint.weights != checkpoint.tokenizer


def test_shards_are_one_checkpoint(model, cache):
    sharded(model)
    assert resolve(str(model), cache).path == model


class TestRefusals:
    @pytest.mark.parametrize(
        "name",
        [
            *("/no/such/model", "no/such/model", "nothing", "model.gguf", "a/b/c.safetensors"),
            *("models/mine.gguf", "models/mine.safetensors", "./model", "org/", "org/na me"),
        ],
    )
    def test_a_path_that_is_not_there(self, name, cache):
        line = refusal(name, cache)
        assert line.startswith(f"no model at {name!r}; expected a directory with safetensors, a GGUF file, a hub id")
        assert "smollm2-135m" in line

    def test_a_directory_without_a_configuration(self, model, cache):
        (model / "config.json").unlink()
        assert refusal(model, cache) == f"{model} has no config.json; expected a transformers checkpoint directory"

    def test_a_directory_without_a_tokenizer(self, model, cache):
        (model / "tokenizer.json").unlink()
        assert refusal(model, cache).startswith(f"{model} has no tokenizer; expected one of tokenizer.json, ")

    def test_a_directory_without_weights(self, model, cache):
        (model / "model.safetensors").unlink()
        assert refusal(model, cache) == f"{model} has no *.safetensors; save the model with save_pretrained first"

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
    def test_pickled_weights_only(self, model, cache, name):
        (model / "model.safetensors").rename(model / name)
        assert refusal(model, cache) == (
            f"{model} has only pickled weights, which are never read; save the model with save_pretrained first"
        )

    @pytest.mark.parametrize("kept", [0, 4, 20, -1])
    def test_truncated_weights(self, model, cache, kept):
        file = model / "model.safetensors"
        file.write_bytes(file.read_bytes()[:kept])
        line = refusal(model, cache)
        assert line.startswith(f"{file} is ")
        assert line.endswith("fetch it again")

    def test_truncated_weights_say_how_long_they_should_be(self, model, cache):
        file = model / "model.safetensors"
        whole = len(file.read_bytes())
        file.write_bytes(file.read_bytes()[:-3])
        assert f"is truncated or damaged: {whole - 3} bytes, its header says {whole}" in refusal(model, cache)

    @pytest.mark.parametrize("header", [b"{", b"\xff\xff", b'{"a": {}}', b'{"a": 1}', b'{"a": {"data_offsets": null}}'])
    def test_a_header_that_is_none(self, model, cache, header):
        (model / "model.safetensors").write_bytes(framed(header))
        assert "is not a readable safetensors file" in refusal(model, cache)

    @pytest.mark.parametrize(
        "header", [b"[]", b"null", b'{"a": {"data_offsets": []}}', b'{"a": {"data_offsets": [0, "end"]}}']
    )
    def test_a_header_of_another_shape(self, model, cache, header):
        (model / "model.safetensors").write_bytes(framed(header))
        assert "is not a readable safetensors file" in refusal(model, cache)

    @pytest.mark.parametrize("at", [1, 2])
    def test_a_missing_shard(self, model, cache, at):
        sharded(model)
        (model / f"model-0000{at}-of-00002.safetensors").unlink()
        assert refusal(model, cache) == (
            f"{model} lacks model-0000{at}-of-00002.safetensors, which its index names; fetch the model again"
        )

    def test_a_truncated_shard(self, model, cache):
        sharded(model)
        shard = model / "model-00002-of-00002.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1])
        assert refusal(model, cache).startswith(f"{shard} is truncated")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("config.json", "{"),
            ("config.json", "[]"),
            ("generation_config.json", "{"),
            ("model.safetensors.index.json", "{"),
            ("model.safetensors.index.json", "{}"),
        ],
    )
    def test_a_damaged_json_file(self, model, cache, name, content):
        (model / name).write_text(content)
        assert name in refusal(model, cache)

    @pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file", b"safetensors"])
    def test_a_gguf_file_that_is_none(self, tmp_path, cache, content):
        file = tmp_path / "model.gguf"
        file.write_bytes(content)
        line = refusal(file, cache)
        assert line == f"{file} is not a GGUF file: it starts with {content[:4]!r}, expected b'GGUF'"

    @pytest.mark.parametrize(
        "error", [ValueError("no such key\nand more"), IndexError(), UnicodeDecodeError("a", b"", 0, 1, "b")]
    )
    def test_a_gguf_file_that_cannot_be_read_to_its_end(self, tmp_path, cache, gguf, error, monkeypatch):
        monkeypatch.setattr(loader, "convert_gguf", raising(error))
        assert refusal(gguf, cache).startswith(f"cannot read {gguf} as GGUF ({type(error).__name__}: ")
        assert not any(path.is_dir() and path.name[0] != "." for path in (cache.root / "models").iterdir())

    def test_a_disk_that_is_full_while_a_gguf_file_is_converted(self, cache, gguf, monkeypatch):
        monkeypatch.setattr(loader, "convert_gguf", raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        assert "is full; free some space" in refusal(gguf, cache)


class TestHub:
    @pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.2-1B"])
    def test_a_dot_in_an_id_begins_no_extension(self, model, cache, name, monkeypatch):
        monkeypatch.setattr(source, "from_hub", lambda name, patterns: model)
        assert resolve(name, cache).path == model

    def test_an_id_is_fetched(self, model, cache, monkeypatch):
        monkeypatch.setattr(source, "from_hub", lambda name, patterns: model)
        assert resolve("org/name", cache).path == model

    @pytest.mark.parametrize("trusted", [False, True])
    def test_its_code_is_fetched_where_it_is_trusted(self, model, cache, trusted, monkeypatch):
        asked: list[str] = []
        monkeypatch.setattr(source, "from_hub", lambda name, patterns: asked.extend(patterns) or model)
        resolve("org/name", cache, trusted=trusted)
        assert ("*.py" in asked) is trusted


class TestFingerprints:
    def test_are_those_of_the_content_wherever_it_lies(self, model, cache, tmp_path):
        before = resolve(str(model), cache)
        moved = model.rename(tmp_path / "moved")
        after = resolve(str(moved), cache)
        assert (after.weights, after.tokenizer) == (before.weights, before.tokenizer)

    def test_a_byte_edited_in_place_is_seen_though_the_time_of_the_file_is_restored(self, model, cache):
        file = model / "model.safetensors"
        before, stat = resolve(str(model), cache), file.stat()
        time.sleep(0.02)  # more than a tick of the clock by which the file system tells changes
        with file.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\x07")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (file.stat().st_mtime_ns, file.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
        after = resolve(str(model), cache)
        assert after.weights != before.weights
        assert after.tokenizer == before.tokenizer

    def test_large_files_are_read_once(self, model, cache, monkeypatch):
        before = resolve(str(model), cache)
        read: list[Path] = []
        monkeypatch.setattr(source, "file_digest", lambda file: read.append(file) or "0" * 64)
        assert resolve(str(model), cache).weights == before.weights
        assert [file.name for file in read] == ["tokenizer.json"]

    def test_a_shard_s_byte_is_seen(self, model, cache):
        sharded(model)
        before = resolve(str(model), cache)
        (model / "model-00002-of-00002.safetensors").write_bytes(safetensors(b"\x01\x03" * 8, "w2"))
        assert resolve(str(model), cache).weights != before.weights

    @pytest.mark.parametrize(("change", "same"), [({"hidden_size": 8}, False), ({"transformers_version": "5.1"}, True)])
    def test_the_configuration_counts_but_for_the_version_that_wrote_it(self, model, cache, change, same):
        before = resolve(str(model), cache)
        (model / "config.json").write_text(json.dumps(CONFIG | change, indent=1))
        assert (resolve(str(model), cache).weights == before.weights) is same

    @pytest.mark.parametrize(
        "name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "merges.txt"]
    )
    def test_the_tokenizer_has_its_own(self, model, cache, name):
        before = resolve(str(model), cache)
        (model / name).write_text("{}")
        after = resolve(str(model), cache)
        assert after.weights == before.weights
        assert after.tokenizer != before.tokenizer

    def test_the_configuration_of_generation_counts(self, model, cache):
        (model / "generation_config.json").write_text("{}")
        before = resolve(str(model), cache)
        (model / "generation_config.json").write_text('{"repetition_penalty": 1.3}')
        assert resolve(str(model), cache) != before

    def test_a_readme_does_not_count(self, model, cache):
        before = resolve(str(model), cache)
        (model / "README.md").write_text("about")
        assert resolve(str(model), cache) == before


class TestConversion:
    def test_a_gguf_file_is_converted_once(self, model, gguf, cache, monkeypatch):
        made: list[Path] = []

        def convert(file: Path, into: Path) -> None:
            made.append(file)
            for part in model.iterdir():
                (into / part.name).write_bytes(part.read_bytes())

        monkeypatch.setattr(loader, "convert_gguf", convert)
        first = resolve(str(gguf), cache)
        assert resolve(str(gguf), cache) == first
        assert made == [gguf]
        assert first.path.parent == cache.root / "models"


@pytest.fixture
def gguf(tmp_path) -> Path:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF and nothing more")
    return file


def raising(error: Exception):
    def fail(*_) -> None:
        raise error

    return fail
