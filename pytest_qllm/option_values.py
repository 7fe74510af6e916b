"""From the text of a single option to its value; one that will not do is a usage error of one line."""

from __future__ import annotations

from math import nan
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_qllm.efficiency.costs import Shape
from pytest_qllm.errors import QllmError

SMALLEST_ALPHA = 1e-6
"""Of smaller errors the looks' parts are below what numerical integration resolves."""


def names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


def model(given: str, root: Path) -> str:
    """A path is relative to the rootdir, as those of the other options are; anything else is left as it is."""
    path = root / Path(given)
    return str(path) if given and not given.startswith("~") and path.exists() else given


def sources(given: str, root: Path) -> str:
    """Sources of data in the order in which they are asked, directories by their full path."""
    found = []
    for source in names(given) or ("",):
        folder = root / Path(source).expanduser()
        if source not in ("auto", "hub") and not (source and folder.is_dir()):
            which = f", of which {source!r} is none" if "," in given else ""
            raise pytest.UsageError(
                f"--qllm-data is {given!r}; expected auto, hub, or an existing directory{which} (or several, separated "
                "by commas, in the order in which they are asked)"
            )
        found.append(source if source in ("auto", "hub") else str(folder.resolve()))
    return ",".join(found)


def natural(flag: str, given: str) -> int:
    if not given.isdecimal():
        raise pytest.UsageError(f"{flag} is {given!r}; expected a whole number from 0")
    return int(given)


def alpha(given: str) -> float:
    try:
        alpha = float(given)
    except ValueError:
        alpha = nan
    if not SMALLEST_ALPHA <= alpha < 0.5:
        raise pytest.UsageError(f"--qllm-alpha is {given!r}; expected a number below 0.5 such as 0.05, from 0.000001")
    return alpha


def shape(given: str) -> str:
    try:
        return str(Shape.parse(given)) if given else ""
    except QllmError as error:
        raise pytest.UsageError(f"--qllm-shape: {error}") from error


def device(given: str) -> str:
    kind, _, index = given.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in given and not (kind == "cuda" and index.isdecimal())):
        raise pytest.UsageError(f"--qllm-device is {given!r}; expected auto, cpu, cuda, or cuda:N")
    return given


def judge(given: str, model: str) -> str:
    if not given:
        return ""
    try:
        parts = urlsplit(given)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
    except ValueError:
        is_url = False
    if not is_url:
        raise pytest.UsageError(f"--qllm-judge is {given!r}; expected a base URL such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise pytest.UsageError(
            f"--qllm-judge has a user or a password before {parts.hostname!r}, which reports would show; expected the "
            "URL alone, and the key in the environment variable QLLM_JUDGE_KEY"
        )
    if not model:
        raise pytest.UsageError("--qllm-judge-model is empty; expected the name of the model at --qllm-judge")
    return given
