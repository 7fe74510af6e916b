"""What a GGUF file is, by its header."""

from __future__ import annotations

import subprocess
import sys

import pytest

gguf = pytest.importorskip("gguf")

import numpy as np  # noqa: E402

from pytest_qllm.errors import QllmError  # noqa: E402
from pytest_qllm.regimes.gguf_file import describe_gguf, files, nominal_bits, read, size  # noqa: E402

Kind = gguf.GGMLQuantizationType
LINEAR = ("attn_q", "attn_output", "ffn_down")


def written(file, kinds, *, file_type=None, words=("a", "b"), width=256):
    """A GGUF file with an embedding in float16, a norm, and linear layers of those kinds."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_token_list(list(words))
    writer.add_key_value("llama.rope.scales", [0.5, 2.0], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.FLOAT32)
    if file_type is not None:
        writer.add_file_type(file_type)
    writer.add_tensor("token_embd.weight", np.zeros((4, width), np.float16))
    writer.add_tensor("blk.0.attn_norm.weight", np.zeros(width, np.float32))
    for layer, kind in enumerate(kinds):
        values = np.linspace(-1, 1, 8 * width, dtype=np.float32).reshape(8, width)
        writer.add_tensor(f"blk.{layer}.{LINEAR[layer % 3]}.weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_the_header_is_what_gguf_s_own_reader_finds(tmp_path):
    file = written(tmp_path / "model.gguf", [Kind.Q4_0, Kind.Q8_0, Kind.F32], file_type=2, words=("ä", "b" * 300))
    reader = gguf.GGUFReader(file)
    header = read(file)
    assert header.metadata == {
        name: field.contents()
        for name, field in reader.fields.items()
        if field.types[0] != gguf.GGUFValueType.ARRAY and not name.startswith("GGUF.")
    }
    assert [(one.name, one.type, one.elements, one.bytes) for one in header.tensors] == [
        (one.name, one.tensor_type.name, one.n_elements, one.n_bytes) for one in reader.tensors
    ]
    assert [one.is_linear for one in header.tensors] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("kinds", "file_type", "expected"),
    [
        ([Kind.Q4_0] * 3, gguf.LlamaFileType.MOSTLY_Q4_0, ("GGUF Q4_0", 4, 32, 4.5)),
        ([Kind.Q8_0] * 3, gguf.LlamaFileType.MOSTLY_Q8_0, ("GGUF Q8_0", 8, 32, 8.5)),
        ([Kind.Q4_1, Kind.Q4_1, Kind.Q8_0], gguf.LlamaFileType.MOSTLY_Q4_1, ("GGUF Q4_1", 4, 32, (5 + 5 + 8.5) / 3)),
        ([Kind.Q5_1, Kind.Q8_0, Kind.Q5_1], None, ("GGUF Q5_1", 5, 32, (6 + 6 + 8.5) / 3)),
        ([Kind.F32] * 3, gguf.LlamaFileType.ALL_F32, ("GGUF F32", 32, None, 32)),
        ([Kind.TQ2_0] * 3, gguf.LlamaFileType.MOSTLY_TQ2_0, ("GGUF TQ2_0", 2, 256, 2.0625)),
        ([Kind.Q4_0] * 3, gguf.LlamaFileType.GUESSED, ("GGUF Q4_0", 4, 32, 4.5)),
    ],
)
def test_method_bits_and_group_size_are_read_from_it(tmp_path, kinds, file_type, expected):
    found = describe_gguf(written(tmp_path / "model.gguf", kinds, file_type=file_type))
    assert (found.method, found.bits, found.group_size) == expected[:3]
    assert found.bits_per_weight == pytest.approx(expected[3])


def test_the_size_counts_the_linear_layers_and_the_whole_model(tmp_path):
    found = size(written(tmp_path / "model.gguf", [Kind.Q4_0] * 2))
    linear, others = 2 * 8 * 256 * 4.5, 4 * 256 * 16 + 256 * 32
    assert found.bits_per_weight == 4.5
    assert found.bytes == (linear + others) / 8
    assert found.model_bits_per_weight == pytest.approx((linear + others) / (2 * 8 * 256 + 4 * 256 + 256))


@pytest.mark.parametrize(
    ("label", "bits"),
    [("Q4_K_M", 4), ("IQ3_S", 3), ("Q2_K", 2), ("Q8_0", 8), ("F16", 16), ("BF16", 16), ("MXFP4_MOE", 4), ("TQ1_0", 1)],
)
def test_a_type_s_name_has_its_width(label, bits):
    assert nominal_bits(label) == bits


class TestFiles:
    def test_a_file_is_itself_and_a_directory_its_only_one(self, tmp_path):
        file = written(tmp_path / "model.gguf", [Kind.Q4_0])
        assert files(file) == files(tmp_path) == [file]

    def test_shards_are_one_model(self, tmp_path):
        parts = [written(tmp_path / f"m-0000{at}-of-00002.gguf", [Kind.Q4_0] * at) for at in (1, 2)]
        assert files(tmp_path) == files(parts[1]) == parts
        assert size(parts[0]).bytes == sum(size_of_one(part) for part in parts)

    def test_a_shard_that_is_absent(self, tmp_path):
        written(tmp_path / "m-00001-of-00002.gguf", [Kind.Q4_0])
        with pytest.raises(QllmError, match=r"lacks m-00002-of-00002.gguf, a part of the same model"):
            files(tmp_path)

    def test_two_models_in_a_directory(self, tmp_path):
        for name in ("one", "two"):
            written(tmp_path / f"{name}.gguf", [Kind.Q4_0])
        with pytest.raises(QllmError, match=r"has 2 GGUF files \(one.gguf, ...\); name one of them"):
            files(tmp_path)

    def test_no_file(self, tmp_path):
        for path in (tmp_path, tmp_path / "absent.gguf"):
            with pytest.raises(QllmError, match="no GGUF file at"):
                files(path)


def size_of_one(file):
    return sum(tensor.bytes for tensor in read(file).tensors)


class TestBadInput:
    @pytest.fixture
    def content(self, tmp_path):
        return written(tmp_path / "good.gguf", [Kind.Q4_0]).read_bytes()

    @pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.99])
    def test_a_file_that_is_cut_off(self, content, tmp_path, share):
        (tmp_path / "cut.gguf").write_bytes(content[: int(share * len(content))])
        with pytest.raises(QllmError, match=r"cannot read .*cut.gguf as GGUF"):
            read(tmp_path / "cut.gguf")

    def test_another_kind_of_file(self, tmp_path):
        (tmp_path / "model.gguf").write_bytes(b"\x80\x04pickle, or whatever it is")
        with pytest.raises(QllmError, match=r"it starts with .*, expected b'GGUF'"):
            read(tmp_path / "model.gguf")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "model.gguf").touch()
        with pytest.raises(QllmError, match="cannot read"):
            read(tmp_path / "model.gguf")

    def test_a_count_that_no_file_has(self, content, tmp_path):
        (tmp_path / "model.gguf").write_bytes(content[:16] + b"\xff" * 7 + b"\x7f" + content[24:])
        with pytest.raises(QllmError, match="cannot read"):
            read(tmp_path / "model.gguf")

    def test_a_file_without_linear_layers(self, tmp_path):
        with pytest.raises(QllmError, match="has no linear layers"):
            describe_gguf(written(tmp_path / "model.gguf", []))


def test_torch_is_not_imported(tmp_path):
    file = written(tmp_path / "model.gguf", [Kind.Q4_0])
    code = (
        "import sys; from pathlib import Path; from pytest_qllm.regimes.backends.llama_cpp import describe_gguf; "
        f"describe_gguf(Path({str(file)!r})); sys.exit('torch' in sys.modules or 'llama_cpp' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
