"""The regimes that can be chosen: by name, by a spec of a method's parameters, or by a table of the user's."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes import module_map, spec
from pytest_qllm.regimes.method import Method
from pytest_qllm.regimes.regime import BASELINE, Regime

BACKENDS = ("bitsandbytes", "gptqmodel", "rtn", "spqr", "mixed", "nested")
"""Modules of ``backends`` in the order of `pytest-qllm list`. Each names its REGIMES and its METHODS, and imports its
library only when it works."""


def _declared(kind: str) -> Iterator[Regime | Method]:
    for name in BACKENDS:
        yield from getattr(importlib.import_module(f"pytest_qllm.regimes.backends.{name}"), kind, ())


BUILTIN: tuple[Regime, ...] = (
    Regime(BASELINE, "none", 16),
    *(one for one in _declared("REGIMES") if isinstance(one, Regime)),
)
METHODS: tuple[Method, ...] = tuple(one for one in _declared("METHODS") if isinstance(one, Method))

# auto-gptq's checkpoint format lives on in GPTQModel, which writes and reads it.
ALIASES = {f"auto-gptq-{bits}bit": f"gptq-{bits}bit" for bits in (8, 4, 3, 2)}


class RegimeCatalog:
    """Regimes by name: the built-in ones, those that plugins add, those of the user's tables, and any spec.

    Args:
        extra: regimes and methods of plugins.
        tables: ``[tool.qllm.regimes]``.
        where: the file of the tables, for messages.

    Raises:
        QllmError: for a table that makes no regime, or a name that is taken.
    """

    def __init__(
        self,
        extra: Iterable[Regime | Method] = (),
        tables: Mapping[str, object] | None = None,
        where: str = "pyproject.toml",
    ) -> None:
        added = list(extra)
        self.methods = {method.prefix: method for method in (*METHODS, *(m for m in added if isinstance(m, Method)))}
        regimes = (*BUILTIN, *(regime for regime in added if isinstance(regime, Regime)))
        self._by_name = {regime.name: regime for regime in regimes}
        # Maps of modules last: their parts can be regimes of other tables.
        for name, table in sorted((tables or {}).items(), key=lambda item: module_map.is_map(item[1])):
            if name in self._by_name:
                raise QllmError(f"{where}: regimes.{name}: there is a regime of that name already; choose another")
            if isinstance(table, Mapping) and module_map.is_map(table):
                self._by_name[name] = module_map.from_table(name, table, self.get, where)
            else:
                self._by_name[name] = spec.from_table(name, table, self.methods, where)

    def __iter__(self) -> Iterator[Regime]:
        return iter(self._by_name.values())

    def get(self, text: str) -> Regime:
        """The regime of a name or a spec.

        Raises:
            QllmError: if there is none; the message lists those that there are.
        """
        if text in self._by_name:
            return self._by_name[text]
        base, extras = spec.split(text)
        base = ALIASES.get(base, base)
        named = self._by_name.get(base)
        if named is not None and not extras.calibration:
            return extras.applied(named)
        regime = spec.parametrized(base, self.methods, extras.calibration)
        if regime is None and named is not None:
            raise QllmError(f"regime {text!r}: {named.method} needs no calibration; leave calibration= out")
        if regime is None:
            known = ", ".join(self._by_name)
            methods = ", ".join(self.methods)
            raise QllmError(
                f"unknown regime {text!r}; known regimes: {known}; methods for specs such as gptq-4bit-g64-sym: "
                f"{methods} (see `pytest-qllm list`)"
            )
        return extras.applied(regime)

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
        return tuple(chosen.values())
