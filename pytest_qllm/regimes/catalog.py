"""The regimes that can be chosen: by name, by a spec of a method's parameters, or by a table of the user's."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import checkpoint, module_map, spec
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import BASELINE, Regime

BACKENDS = (
    "bitsandbytes",
    "gptqmodel",
    "torchao",
    "hqq",
    "quanto",
    "compressed_tensors",
    "llama_cpp",
    "rtn",
    "spqr",
    "mixed",
    "nested",
)
"""Modules of ``backends`` in the order of `pytest-qllm list`. Each names its REGIMES and its METHODS, and imports its
library only when it works."""


ENTRY_POINTS = "pytest_qllm.regimes"
"""Group in which another package names its backends."""


def offered(backend: Any) -> Iterator[Regime | Method]:
    """The regimes and methods of a backend, a module or a class; where they name none, they are its own."""
    place = getattr(backend, "__module__", None)
    name = backend.__name__ if place is None else f"{place}:{backend.__qualname__}"
    for one in (*getattr(backend, "REGIMES", ()), *getattr(backend, "METHODS", ())):
        yield one if one.backend else replace(one, backend=name)


def _builtin() -> Iterator[Regime | Method]:
    for name in BACKENDS:
        yield from offered(importlib.import_module(f"pytest_qllm.regimes.backends.{name}"))


def installed() -> Iterator[Regime | Method]:
    """What the backends offer that other packages name in their entry points.

    Raises:
        QllmError: for one that cannot be imported.
    """
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            backend = point.load()
        except Exception as error:  # anything may happen while a package is imported
            raise QllmError(
                f"the regimes of {point.value} cannot be imported ({type(error).__name__}: {error}); mend or uninstall "
                "that package"
            ) from error
        yield from offered(backend)


BUILTIN: tuple[Regime, ...] = (
    Regime(BASELINE, "none", 16),
    *(one for one in _builtin() if isinstance(one, Regime)),
)
METHODS: tuple[Method, ...] = tuple(one for one in _builtin() if isinstance(one, Method))

# auto-gptq's checkpoint format lives on in GPTQModel, which writes and reads it.
ALIASES = {f"auto-gptq-{bits}bit": f"gptq-{bits}bit" for bits in (8, 4, 3, 2)}


class RegimeCatalog:
    """Regimes by name: the built-in ones, those that plugins add, those of the user's tables, and any spec.

    Args:
        extra: regimes, methods and backends (see ``offered``) of plugins. Those in entry points are added when a name
            is not among these, or all are listed.
        tables: ``[tool.qllm.regimes]``.
        where: the file of the tables, for messages.
        root: what relative paths in a spec are relative to.
        trusted: names of checkpoints whose own code may be run.

    Raises:
        QllmError: for a table that makes no regime, or a name that is taken.
    """

    def __init__(
        self,
        extra: Iterable[Regime | Method | Any] = (),
        tables: Mapping[str, object] | None = None,
        where: str = "pyproject.toml",
        root: Path = Path(),
        trusted: Collection[str] = (),
    ) -> None:
        self.root = root
        self.trusted = trusted
        self.methods: dict[str, Method] = {}
        self._by_name: dict[str, Regime] = {}
        self._by_text: dict[str, Regime] = {}
        self._is_complete = False
        self._by_name[BASELINE] = BUILTIN[0]
        self._add((*BUILTIN[1:], *METHODS))
        for one in extra:
            self._add([one] if isinstance(one, Regime | Method) else offered(one))
        # Maps of modules last: their parts can be regimes of other tables.
        for name, table in sorted((tables or {}).items(), key=lambda item: module_map.is_map(item[1])):
            self._complete()
            if name in self._by_name:
                raise QllmError(f"{where}: regimes.{name}: there is a regime of that name already; choose another")
            if isinstance(table, Mapping) and module_map.is_map(table):
                self._by_name[name] = module_map.from_table(name, table, self.get, where)
            else:
                self._by_name[name] = spec.from_table(name, table, self.methods, where, root)

    def __iter__(self) -> Iterator[Regime]:
        self._complete()
        return iter(self._by_name.values())

    def get(self, text: str) -> Regime:
        """The regime of a name or a spec.

        Raises:
            QllmError: if there is none; the message has the names nearest to it.
        """
        found = self._find(text)
        if found is None:
            self._complete()
            found = self._find(text)
        if found is None:
            near = get_close_matches(text, self._by_name)
            meant = f"the nearest names are {', '.join(near)}" if near else "no name is near it"
            methods = ", ".join(self.methods)
            raise QllmError(
                f"unknown regime {text!r}; {meant} (all: `pytest-qllm list`); methods for specs such as "
                f"gptq-4bit-g64-sym: {methods}"
            )
        return found

    def _add(self, offers: Iterable[Regime | Method], *, over: bool = True) -> None:
        for one in offers:
            if not one.backend:  # it would be measured as FP16, and pass
                raise QllmError(
                    f"the regimes of {one.name} name no backend; give the module that quantizes, or let the hook "
                    "return the class in whose REGIMES they are"
                )
            if isinstance(one, Method):
                self.methods[one.prefix] = one if over else self.methods.get(one.prefix, one)
            else:
                self._by_name[one.name] = one if over else self._by_name.get(one.name, one)

    def _complete(self) -> None:
        """Add what other packages offer: imported only when it is asked for, as they may import anything."""
        if not self._is_complete:
            self._is_complete = True
            self._add(installed(), over=False)

    def _find(self, text: str) -> Regime | None:
        for table in (self._by_name, self._by_text):
            if text in table:
                return table[text]
        base, extras = spec.split(text, self.root)
        base = ALIASES.get(base, base)
        label, is_checkpoint, place = base.partition("=")
        if is_checkpoint:
            if label in self._by_name or not spec.NAME.fullmatch(label):
                why = "is taken" if label in self._by_name else "has other signs than letters, digits, . - and _"
                raise QllmError(f"regime {text!r}: the name {label!r} {why}; choose another, such as mine={place}")
            if not place:
                raise QllmError(
                    f"regime {text!r} names no checkpoint; expected {label}=DIRECTORY, a GGUF file or a hub id"
                )
            if extras.calibration:
                raise QllmError(f"regime {text!r}: a checkpoint is quantized already; leave calibration= out")
            return extras.applied(checkpoint.regime(label, place, self.root, trusted=label in self.trusted))
        named = self._by_name.get(base)
        if named is not None and not extras.calibration:
            return extras.applied(named)
        if named is not None and "calibration" in named.options:
            return extras.applied(spec.recalibrated(named, extras.calibration))
        regime = spec.parametrized(base, self.methods, extras.calibration)
        if regime is None and named is not None:
            raise QllmError(f"regime {text!r}: {named.method} needs no calibration; leave calibration= out")
        return None if regime is None else extras.applied(regime)

    def choose(self, names: Iterable[str]) -> tuple[Regime, ...]:
        """The baseline, then the named regimes, each once and in the order given.

        Raises:
            QllmError: if there is no such regime, or two different ones would have the same name.
        """
        chosen = {BASELINE: self.get(BASELINE)}
        for name in names:
            regime = self.get(name)
            if chosen.setdefault(regime.name, regime) != regime:
                raise QllmError(f"two regimes would be called {regime.name}; name them in [tool.qllm.regimes]")
            self._by_name.setdefault(regime.name, regime)
            self._by_text[name] = regime
        return tuple(chosen.values())
