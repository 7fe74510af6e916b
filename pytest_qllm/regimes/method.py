"""A method of quantization with parameters: what a spec such as ``gptq-4bit-g64-sym`` is made with. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import Regime


@dataclass(frozen=True)
class Method:
    """What a library can be asked for.

    Attributes:
        prefix: how its specs begin, such as ``gptq``.
        name: the field's name for the algorithm.
        backend, library, extra, weight_only, simulated, device, artifact: as in ``Regime``.
        widths: bits per weight that it has.
        groups: sizes of the groups that share a scale; empty where they cannot be chosen.
        group: the group size where none is given; by width where widths need different ones.
        symmetric: whether the grid has no zero point where nothing is said; None where that cannot be chosen.
        keeps: whether named modules can be left in FP16.
        calibration: rows and tokens of the texts that it needs, or None.
        options: further options of the library with their defaults, by width where widths need different ones; others
            are refused.
    """

    prefix: str
    name: str
    backend: str
    widths: tuple[int, ...]
    library: str = ""
    extra: str = ""
    groups: tuple[int, ...] = ()
    group: int | Mapping[int, int] | None = None
    symmetric: bool | None = None
    weight_only: bool = True
    simulated: bool = False
    device: str = ""
    keeps: bool = False
    calibration: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    artifact: int = 1

    def regime(
        self,
        bits: int,
        *,
        name: str = "",
        group_size: int | None = None,
        symmetric: bool | None = None,
        calibration: str = "",
        keep: tuple[str, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Regime:
        """The regime with those parameters; what is not given is the method's default.

        Args:
            bits: width of a weight.
            name: of the regime; made of the parameters that were given, if empty.
            group_size: weights that share a scale.
            symmetric: a grid without a zero point.
            calibration: name of a set of texts, or a file of them.
            keep: regular expressions; modules whose names one of them matches stay in FP16.
            options: of the library.

        Raises:
            QllmError: for a parameter that the method does not have, or a value that it cannot take.
        """
        given = f"{self.prefix}-{bits}bit"
        if bits not in self.widths:
            raise QllmError(f"{given}: {self.name} has no width of {bits} bits; it has {_listed(self.widths)}")
        chosen: dict[str, Any] = {}
        group = self.group.get(bits) if isinstance(self.group, Mapping) else self.group
        if group is not None:
            chosen["group_size"] = group
        if group_size is not None:
            if not self.groups:
                raise QllmError(f"{given}-g{group_size}: the group size of {self.name} cannot be chosen")
            if group_size not in self.groups:
                raise QllmError(f"{given}-g{group_size}: {self.name} has groups of {_listed(self.groups)}")
            chosen["group_size"] = group_size
            given += f"-g{group_size}"
        if self.symmetric is not None:
            chosen["symmetric"] = self.symmetric if symmetric is None else symmetric
        if symmetric is not None:
            if self.symmetric is None:
                raise QllmError(f"{given}: {self.name} has one kind of grid: neither sym nor asym can be chosen")
            given += "-sym" if symmetric else "-asym"
        if self.calibration is not None:
            chosen["calibration"] = dict(self.calibration) | ({"corpus": calibration} if calibration else {})
        elif calibration:
            raise QllmError(f"{given}: {self.name} needs no calibration; leave calibration={calibration} out")
        if keep:
            if not self.keeps:
                raise QllmError(f"{given}: {self.name} cannot keep modules in FP16 here; leave keep out")
            chosen["keep"] = list(keep)
        unknown = sorted(set(options or {}) - set(self.options))
        if unknown:
            known = f"it has {', '.join(self.options)}" if self.options else "it has none"
            raise QllmError(f"{given}: {self.name} has no option {unknown[0]!r}; {known}")
        chosen |= {name: value[bits] if isinstance(value, Mapping) else value for name, value in self.options.items()}
        chosen |= options or {}
        return Regime(
            name or given,
            self.name,
            bits,
            self.backend,
            self.library,
            self.extra,
            self.weight_only,
            chosen,
            self.simulated,
            self.device,
            artifact=self.artifact,
        )


def _listed(values: tuple[int, ...]) -> str:
    return ", ".join(map(str, values))
