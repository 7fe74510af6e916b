"""The regimes that can be chosen by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import BASELINE, Regime


def _bitsandbytes(name: str, method: str, bits: int, *, weight_only: bool, **options: object) -> Regime:
    return Regime(name, method, bits, "bitsandbytes", "bitsandbytes", "bitsandbytes", weight_only, dict(options))


def _gptq(bits: int) -> Regime:
    # 64 and not the usual 128: the default model's hidden size of 576 is no multiple of 128, and its own weights lie
    # on a grid of 32, on which 4 bits would look lossless.
    options = {"group_size": 64, "symmetric": True, "calibration": {"corpus": "squad", "rows": 16, "tokens": 256}}
    return Regime(f"gptq-{bits}bit", "GPTQ", bits, "gptqmodel", "gptqmodel", "gptq", True, options)


BUILTIN: tuple[Regime, ...] = (
    Regime(BASELINE, "none", 16),
    _bitsandbytes("bnb-int8", "LLM.int8()", 8, weight_only=False, outlier_threshold=6.0),
    _bitsandbytes("bnb-nf4", "NF4", 4, weight_only=True, block_size=64),
    _bitsandbytes("bnb-fp4", "FP4", 4, weight_only=True, block_size=64),
    *(_gptq(bits) for bits in (8, 4, 3, 2)),
)

# auto-gptq's checkpoint format lives on in GPTQModel, which writes and reads it.
ALIASES = {f"auto-gptq-{bits}bit": f"gptq-{bits}bit" for bits in (8, 4, 3, 2)}


class RegimeCatalog:
    """Regimes by name: the built-in ones and those that plugins add."""

    def __init__(self, extra: Iterable[Regime] = ()) -> None:
        self._by_name = {regime.name: regime for regime in (*BUILTIN, *extra)}

    def __iter__(self) -> Iterator[Regime]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Regime:
        """The regime of that name.

        Raises:
            QllmError: if there is none; the message lists those that there are.
        """
        try:
            return self._by_name[ALIASES.get(name, name)]
        except KeyError:
            known = ", ".join(self._by_name)
            raise QllmError(f"unknown regime {name!r}; known regimes: {known} (see `pytest-qllm list`)") from None

    def choose(self, names: Iterable[str]) -> tuple[Regime, ...]:
        """The baseline, then the named regimes, each once and in the order given."""
        chosen = {BASELINE: self.get(BASELINE)}
        for name in names:
            regime = self.get(name)
            chosen[regime.name] = regime
        return tuple(chosen.values())
