"""What is in a GGUF file, from its header: types and sizes of the tensors. Free of torch.

gguf's own reader makes an array of every token of the vocabulary, which takes seconds; the header alone takes
milliseconds (format: github.com/ggml-org/ggml/blob/master/docs/gguf.md).
"""

from __future__ import annotations

import mmap
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.regimes.size import Size

# Scalars by their number in the file; 8 is a string and 9 an array.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_LINEAR = re.compile(r"blk\.\d+\.(attn|ffn)(?!.*_norm\b)\S*\.weight")
_NUMBER = re.compile(r"(?:I?Q|TQ|FP|F)(\d+)")

# Weights that share a scale, which inside a block of 256 are fewer than the block (ggml-common.h).
_GROUPS = {
    "Q2_K": 16,
    "Q3_K": 16,
    "Q4_K": 32,
    "Q5_K": 32,
    "Q6_K": 16,
    "IQ1_S": 32,
    "IQ1_M": 16,
    "IQ2_XXS": 32,
    "IQ2_XS": 16,
    "IQ2_S": 16,
    "IQ3_XXS": 32,
    "IQ3_S": 32,
    "IQ4_XS": 32,
    "NVFP4": 16,
}


@dataclass(frozen=True)
class Tensor:
    """One tensor: its name, the name of its type, its elements in number, whether it is a matrix, and its bytes."""

    name: str
    type: str
    elements: int
    is_matrix: bool
    bytes: int

    @property
    def is_linear(self) -> bool:
        """Whether it is the weight of a linear layer of a block, an expert's included."""
        return self.is_matrix and _LINEAR.fullmatch(self.name) is not None


@dataclass(frozen=True)
class Header:
    """Scalars and strings of the metadata (arrays are left out), and the tensors."""

    metadata: Mapping[str, object]
    tensors: tuple[Tensor, ...]


class Described(NamedTuple):
    """How a GGUF file is quantized.

    Attributes:
        method: ``GGUF`` and its file type.
        bits: the width in the type's name.
        group_size: weights that share a scale in most of the linear layers; None for a float type.
        bits_per_weight: what a weight of a linear layer really takes.
    """

    method: str
    bits: int
    group_size: int | None
    bits_per_weight: float


def describe_gguf(path: Path) -> Described:
    """The method, bits and group size of a GGUF file (or a directory with one), by its own header.

    Raises:
        QllmError: if there is none, it cannot be read, or it has no linear layers.
    """
    import gguf

    headers = [read(file) for file in files(path)]
    linear = [tensor for header in headers for tensor in header.tensors if tensor.is_linear]
    if not linear:
        raise QllmError(f"{path} has no linear layers (blk.*.attn*.weight, blk.*.ffn*.weight): it is no language model")
    weights: Counter[str] = Counter()
    for tensor in linear:
        weights[tensor.type] += tensor.elements
    dominant = weights.most_common(1)[0][0]
    given = headers[0].metadata.get("general.file_type")
    known = {kind.value: kind.name for kind in gguf.LlamaFileType if kind is not gguf.LlamaFileType.GUESSED}
    label = known[given].removeprefix("MOSTLY_").removeprefix("ALL_") if given in known else dominant
    block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[dominant]][0]
    group = _GROUPS.get(dominant, block) if block > 1 else None
    return Described(f"GGUF {label}", nominal_bits(label), group, _bits(linear))


def size(path: Path) -> Size:
    """What a GGUF file (or a directory with one) weighs.

    Raises:
        QllmError: if it cannot be read.
    """
    tensors = [tensor for file in files(path) for tensor in read(file).tensors]
    linear = [tensor for tensor in tensors if tensor.is_linear]
    return Size(_bits(linear or tensors), _bits(tensors), sum(tensor.bytes for tensor in tensors))


def nominal_bits(label: str) -> int:
    """The width in the name of a type: 4 for ``Q4_K_M``, 3 for ``IQ3_S``, 16 for ``BF16``."""
    found = _NUMBER.search(label)
    if found is None:
        raise ValueError(f"{label} names no width")
    return int(found[1])


def files(path: Path) -> list[Path]:
    """The GGUF file, or all shards of it, at a path or alone in a directory.

    Raises:
        QllmError: if there is none, or more than one model, or a shard is absent.
    """
    found = sorted(path.glob("*.gguf")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise QllmError(f"no GGUF file at {path}")
    shard = _SHARD.fullmatch(found[0].name)
    if shard is not None:
        stem, _, count = shard.groups()
        shards = [found[0].with_name(f"{stem}-{at:05}-of-{count}.gguf") for at in range(1, int(count) + 1)]
        absent = [one.name for one in shards if not one.is_file()]
        if absent:
            raise QllmError(f"{found[0].parent} lacks {absent[0]}, a part of the same model; fetch it again")
        if set(found) <= set(shards):
            return shards
    if len(found) > 1:
        raise QllmError(f"{path} has {len(found)} GGUF files ({found[0].name}, ...); name one of them")
    return found


def read(file: Path) -> Header:
    """The header of one GGUF file.

    Raises:
        QllmError: if it is none, is cut off, or has a type that the installed gguf does not know.
        UnavailableError: without gguf.
    """
    try:
        import gguf
    except ImportError:
        raise UnavailableError("GGUF files need gguf: pip install 'pytest-qllm[model]'") from None
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[:4] != b"GGUF":
                raise ValueError(f"it starts with {content[:4]!r}, expected b'GGUF'")
            cursor = _Cursor(content, 4)
            version, tensors, pairs = (int(value) for value in cursor.scalars("IQQ"))
            if version not in (2, 3):
                raise ValueError(f"it is of version {version}, expected 2 or 3")
            metadata = dict(cursor.pairs(pairs))
            found = list(cursor.tensors(tensors))
            step = int(str(metadata.get("general.alignment", gguf.GGUF_DEFAULT_ALIGNMENT)))
            start = -(-cursor.at // step) * step
            end = start + max((offset + tensor.bytes for offset, tensor in found), default=0)
            if end > len(content):
                raise ValueError(f"it is cut off: {len(content)} bytes, its header says {end}")
            return Header(metadata, tuple(tensor for _, tensor in found))
    except (OSError, ValueError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise QllmError(f"cannot read {file} as GGUF ({type(error).__name__}: {error})") from error


class _Cursor:
    """Reads on from a place in a file."""

    def __init__(self, content: mmap.mmap, at: int) -> None:
        self.content = content
        self.at = at

    def scalars(self, kinds: str) -> tuple[int | float | bool, ...]:
        values = struct.unpack_from(f"<{kinds}", self.content, self.at)
        self.at += struct.calcsize(f"<{kinds}")
        return values

    def string(self) -> str:
        return self._bytes().decode()

    def _bytes(self) -> bytes:
        length = int(self.scalars("Q")[0])
        found = self.content[self.at : self.at + length]
        if len(found) != length:
            raise ValueError("it is cut off")
        self.at += length
        return found

    def pairs(self, count: int) -> Iterator[tuple[str, object]]:
        for _ in range(count):
            key, kind = self.string(), int(self.scalars("I")[0])
            if kind == _ARRAY:
                self._skip_array()
            elif kind == _STRING:
                yield key, self.string()
            else:
                yield key, self.scalars(_SCALARS[kind])[0]

    def _skip_array(self) -> None:
        kind, count = (int(value) for value in self.scalars("IQ"))
        if kind == _ARRAY:
            for _ in range(count):
                self._skip_array()
        elif kind == _STRING:
            for _ in range(count):
                self._bytes()
        else:
            self.at += count * struct.calcsize(_SCALARS[kind])

    def tensors(self, count: int) -> Iterator[tuple[int, Tensor]]:
        """Each with its place in the data."""
        import gguf

        for _ in range(count):
            name = self.string()
            dimensions = int(self.scalars("I")[0])
            shape = [int(one) for one in self.scalars("Q" * dimensions)]
            kind, offset = (int(one) for one in self.scalars("IQ"))
            type_ = gguf.GGMLQuantizationType(kind)
            block, block_bytes = gguf.GGML_QUANT_SIZES[type_]
            elements = prod(shape)
            is_matrix = sum(one > 1 for one in shape) > 1
            yield offset, Tensor(name, type_.name, elements, is_matrix, elements // block * block_bytes)


def _bits(tensors: list[Tensor]) -> float:
    return 8 * sum(tensor.bytes for tensor in tensors) / sum(tensor.elements for tensor in tensors)
