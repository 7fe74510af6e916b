"""From what a user writes to a regime: a name, a spec such as ``gptq-4bit-g64-sym+kv=int4``, or a table in TOML.

A spec is ``METHOD-Nbit``, then ``-gN`` for the group size and ``-sym`` or ``-asym`` for the grid; after it, each begun
by a plus sign, ``calibration=SET``, ``lora=DIR`` and ``kv=WIDTH``. Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import Regime

KV_WIDTHS = ("int2", "int4", "int8")
_EXTRA = re.compile(r"\+(calibration|lora|kv)=")
_PARAMETRIZED = re.compile(r"(?P<prefix>[a-z][\w.-]*?)-(?P<bits>\d+)bit(?:-g(?P<group>\d+))?(?:-(?P<grid>a?sym))?")
NAME = re.compile(r"[\w][\w.-]*")


@dataclass(frozen=True)
class Extras:
    """What follows a regime's own name: texts to calibrate with, an adapter, and the width of the cache."""

    calibration: str = ""
    lora: str = ""
    kv: str = ""

    def applied(self, regime: Regime) -> Regime:
        """The regime with adapter and cache; the calibration went into its recipe before."""
        if not self.lora and not self.kv:
            return regime
        return replace(regime, name=regime.name + self.suffix(), adapter=self.lora, kv=self.kv)

    def suffix(self) -> str:
        """For the regime's name: an adapter goes by the name of its directory."""
        lora = f"+lora={Path(self.lora).name}" if self.lora else ""
        return lora + (f"+kv={self.kv}" if self.kv else "")


def split(text: str, root: Path = Path()) -> tuple[str, Extras]:
    """A spec without what follows its plus signs, and that; paths are relative to ``root``.

    Raises:
        QllmError: for one that is none, is given twice or empty, or a width that the cache does not have.
    """
    base, *rest = _EXTRA.split(text)
    if "+" in base.partition("=")[0]:  # after the first = there is a path, which may have one
        raise QllmError(
            f"regime {text!r}: {base[base.index('+') :]!r} is no part of a spec; expected +calibration=SET, +lora=DIR "
            "or +kv=WIDTH"
        )
    given: dict[str, str] = {}
    for key, value in zip(rest[::2], rest[1::2], strict=True):
        if key in given or not value:
            raise QllmError(f"regime {text!r}: {key}= is {'given twice' if key in given else 'empty'}")
        given[key] = value
    kv = given.get("kv", "")
    if kv and kv not in KV_WIDTHS:
        raise QllmError(f"regime {text!r}: kv={kv} is no width of the cache; expected one of {', '.join(KV_WIDTHS)}")
    return base, Extras(_path(given.get("calibration", ""), root), _path(given.get("lora", ""), root), kv)


def parametrized(text: str, methods: Mapping[str, Method], calibration: str = "") -> Regime | None:
    """The regime of a spec, named as it is written; None if it is none of a known method.

    Raises:
        QllmError: for parameters that the method does not have.
    """
    found = _PARAMETRIZED.fullmatch(text)
    method = methods.get(found["prefix"]) if found else None
    if found is None or method is None:
        return None
    name = text + (f"+calibration={_stem(calibration)}" if calibration else "")
    return method.regime(
        int(found["bits"]),
        name=name,
        group_size=int(found["group"]) if found["group"] else None,
        symmetric=found["grid"] == "sym" if found["grid"] else None,
        calibration=calibration,
    )


def recalibrated(regime: Regime, calibration: str) -> Regime:
    """A calibrated regime with other texts, and so a map's parts; named as ``parametrized`` names a spec."""
    options = _with_corpus(regime.options, calibration)
    if "parts" in options:
        options["parts"] = [
            {**part, "options": _with_corpus(part["options"], calibration)} for part in options["parts"]
        ]
    return replace(regime, name=f"{regime.name}+calibration={_stem(calibration)}", options=options)


def _with_corpus(options: Mapping[str, Any], corpus: str) -> dict[str, Any]:
    if "calibration" not in options:
        return dict(options)
    return {**options, "calibration": {**options["calibration"], "corpus": corpus}}


_TABLE = {
    "method": str,
    "bits": int,
    "group_size": int,
    "symmetric": bool,
    "calibration": str,
    "keep": list,
    "options": dict,
    "lora": str,
    "kv": str,
}


def from_table(name: str, table: object, methods: Mapping[str, Method], where: str, root: Path = Path()) -> Regime:
    """The regime of ``[tool.qllm.regimes.NAME]``.

    Raises:
        QllmError: for a key, a value or a method that is none; names the file, the table and what would do.
    """
    place = f"{where}: regimes.{name}"
    check_name(name, place)
    if not isinstance(table, Mapping):
        raise QllmError(f'{place} is {table!r}; expected a table such as {{method = "gptq", bits = 4}}')
    for key, value in table.items():
        kind = _TABLE.get(key)
        if kind is None:
            raise QllmError(f"{place} has {key!r}; expected {', '.join(_TABLE)}, or modules alone")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise QllmError(f"{place}: {key} is {value!r}; expected a value of type {kind.__name__}")
    if "method" not in table or "bits" not in table:
        raise QllmError(f"{place} says no {'bits' if 'method' in table else 'method'}; both are needed")
    method = methods.get(table["method"])
    if method is None:
        raise QllmError(f"{place}: unknown method {table['method']!r}; known methods: {', '.join(methods)}")
    keep = tuple(patterns(table.get("keep", []), place))
    extras = Extras(lora=_path(table.get("lora", ""), root), kv=table.get("kv", ""))
    if extras.kv and extras.kv not in KV_WIDTHS:
        raise QllmError(f"{place}: kv is {extras.kv!r}; expected one of {', '.join(KV_WIDTHS)}")
    try:
        regime = method.regime(
            table["bits"],
            name=name,
            group_size=table.get("group_size"),
            symmetric=table.get("symmetric"),
            calibration=_path(table.get("calibration", ""), root),
            keep=keep,
            options=table.get("options"),
        )
    except QllmError as error:
        raise QllmError(f"{place}: {error}") from None
    return replace(regime, adapter=extras.lora, kv=extras.kv)


def check_name(name: str, place: str) -> None:
    """Refuse what would not read as one name in a test's id.

    Raises:
        QllmError: says what a name may have.
    """
    if not NAME.fullmatch(name):
        raise QllmError(f"{place}: a regime's name has letters, digits, dots, dashes and underscores")


def patterns(given: object, place: str, key: str = "keep") -> list[str]:
    """Regular expressions as they are written.

    Raises:
        QllmError: for one that is none.
    """
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise QllmError(f"{place}: {key} is {given!r}; expected a list of regular expressions")
    for one in given:
        try:
            re.compile(one)
        except re.error as error:
            raise QllmError(f"{place}: {one!r} is no regular expression ({error})") from None
    return given


def _path(given: str, root: Path) -> str:
    """A path as it is from the working directory; what is no file or directory below the root stays as it is."""
    return str(root / given) if given and (root / given).exists() else given


def _stem(calibration: str) -> str:
    return Path(calibration).stem if "/" in calibration or "." in calibration else calibration
