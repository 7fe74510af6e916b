"""A table in TOML that gives modules regimes of their own, as one regime: ``backends/modules.py`` makes it.

    [tool.qllm.regimes.careful-mlp]
    modules = {"down_proj" = "gptq-8bit", "mlp" = "rtn-4bit-g64"}
    default = "gptq-3bit"

The first expression that is found in a layer's name decides; layers without any get ``default``, or stay in FP16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import BASELINE, Regime, installed, version_of
from pytest_qllm.regimes.spec import KV_WIDTHS, check_name, patterns

BACKEND = "modules"
_KEYS = ("modules", "default", "lora", "kv")


def is_map(table: object) -> bool:
    """Whether a table gives modules regimes of their own."""
    return isinstance(table, Mapping) and "modules" in table


def from_table(name: str, table: Mapping[str, Any], get: Callable[[str], Regime], where: str) -> Regime:
    """The regime of ``[tool.qllm.regimes.NAME]`` with ``modules``.

    Its nominal bits are the fewest of its parts, until the artifact tells what its weights really take.

    Args:
        get: from a part's name or spec to its regime.

    Raises:
        QllmError: for a key or an expression that is none, or a part that has no dense weights or another calibration.
    """
    place = f"{where}: regimes.{name}"
    check_name(name, place)
    unknown = [key for key in table if key not in _KEYS]
    if unknown:
        raise QllmError(f"{place} has {unknown[0]!r} beside modules; expected {', '.join(_KEYS)}")
    for key in ("default", "lora", "kv"):
        if not isinstance(table.get(key, ""), str):
            raise QllmError(f"{place}: {key} is {table[key]!r}; expected a value of type str")
    if table.get("kv") and table["kv"] not in KV_WIDTHS:
        raise QllmError(f"{place}: kv is {table['kv']!r}; expected one of {', '.join(KV_WIDTHS)}")
    modules = table["modules"]
    if not isinstance(modules, Mapping) or not modules or not all(isinstance(one, str) for one in modules.values()):
        raise QllmError(f'{place}: modules is {modules!r}; expected a table such as {{"down_proj" = "gptq-8bit"}}')
    patterns(list(modules), place, "modules")
    default = table.get("default", BASELINE)
    parts = _parts({*modules.values(), default}, get, place)
    quantized = [part for part in parts.values() if not part.is_baseline]
    if not quantized:
        raise QllmError(f"{place} leaves every module in FP16; give one of them another regime")
    options: dict[str, Any] = {
        "modules": {pattern: parts[part].name for pattern, part in modules.items()},
        # The order decides which expression is first, and a key of the store knows no order of a table's keys.
        "order": list(modules),
        "default": parts[default].name,
        "parts": [_content(part) for part in sorted(quantized, key=lambda part: part.name)],
    }
    calibration = _calibration(quantized, place)
    if calibration is not None:
        options["calibration"] = calibration
    absent = next((part for part in quantized if part.missing()), None)
    return Regime(
        name,
        "per module",
        min(part.bits for part in quantized),
        BACKEND,
        # What has to be installed; the versions of all libraries stand with the parts.
        absent.library if absent else "",
        absent.extra if absent else "",
        options=options,
        simulated=True,
        device=next((part.device for part in quantized if part.device), ""),
        adapter=table.get("lora", ""),
        kv=table.get("kv", ""),
    )


def parts_of(regime: Regime) -> dict[str, Regime]:
    """The regimes of a map by name, and the baseline."""
    known = {field.name for field in fields(Regime)}
    parts = [Regime(**{key: value for key, value in part.items() if key in known}) for part in regime.options["parts"]]
    return {part.name: part for part in (Regime(BASELINE, "none", 16), *parts)}


def _parts(texts: set[str], get: Callable[[str], Regime], place: str) -> dict[str, Regime]:
    """By what was written for it."""
    found = {}
    for text in sorted(texts):
        try:
            part = get(text)
        except QllmError as error:
            raise QllmError(f"{place}: {error}") from None
        if part.backend == BACKEND:
            raise QllmError(f"{place}: {text} is a map of modules itself; name its parts instead")
        if part.backend.startswith("checkpoint"):
            raise QllmError(f"{place}: {text} is a checkpoint that is quantized already; only regimes can be parts")
        if part.adapter or part.kv:
            raise QllmError(f"{place}: {text} has an adapter or a cache; give lora or kv to the whole regime")
        if not part.weight_only:
            raise QllmError(f"{place}: {text} quantizes activations: it has no dense weights to take layers from")
        found[text] = part
    return found


def _calibration(parts: list[Regime], place: str) -> Any | None:
    """The calibration of the parts that have one: all get the same texts."""
    given = [part for part in parts if "calibration" in part.options]
    for part in given[1:]:
        if part.options["calibration"] != given[0].options["calibration"]:
            raise QllmError(
                f"{place}: {given[0].name} is calibrated with {given[0].options['calibration']} and {part.name} with "
                f"{part.options['calibration']}; give all parts the same"
            )
    return given[0].options["calibration"] if given else None


def _content(part: Regime) -> dict[str, Any]:
    """What makes the part, as JSON; with its library's version, on which the weights hang."""
    is_here = part.library and installed(part.library)
    return {
        "name": part.name,
        "method": part.method,
        "bits": part.bits,
        "backend": part.backend,
        "library": part.library,
        "extra": part.extra,
        "options": dict(part.options),
        "version": version_of(part.library) if is_here else "",
    }
