"""A user's directory with a tiny model, its data and a suite, in which pytest runs as that user would run it."""

from __future__ import annotations

import errno
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import pkgutil
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import pytest_qllm

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}

MORE_REGIMES = """
    from pytest_qllm.regimes.regime import Regime

    def pytest_qllm_regimes():
        return [
            Regime("same", "copy", 8, backend="mine.noise", options={"noise": 0.0}),
            Regime("slight", "noise", 8, backend="mine.noise", options={"noise": 0.003}),
            Regime("destroyed", "noise", 2, backend="mine.noise", options={"noise": 3.0}),
        ]
"""
"""A user's conftest: regimes that change nothing, next to nothing, and leave nothing of the model."""

NOISE = '''
    """A backend: the dense weights and noise, in units of each matrix's standard deviation."""

    import torch

    from pytest_qllm.models.loader import load_dense, load_tokenizer

    def build(regime, model, calibration, seed, into):
        dense = load_dense(model, torch.float16, "cpu")
        generator = torch.Generator().manual_seed(seed)
        for weight in dense.parameters():
            if weight.ndim == 2:
                noise = torch.randn(weight.shape, generator=generator) * weight.float().std()
                weight.data += (regime.options["noise"] * noise).half()
        dense.save_pretrained(into)
        load_tokenizer(model).save_pretrained(into)

    def load(artifact, dtype, device):
        return load_dense(artifact, dtype, device)
'''


_USER_CACHE = os.environ.get("XDG_CACHE_HOME")


# In this process the plugin is imported before pytest comes to rewrite it; a user's run has no such warning.
IMPORTED_BEFORE = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: starts processes that import torch")


@dataclass
class Suite:
    """A user's directory: test files that gate, the options that they run with, and what came out."""

    pytester: pytest.Pytester
    options: dict[str, object]
    scored: list[tuple[str, int]] = field(default_factory=list)
    """Benchmark and number of items, for each call of an engine in this process."""

    def gates(self, *benchmarks: str) -> None:
        """One test file for each benchmark."""
        for name in benchmarks:
            self.pytester.makepyfile(**{f"test_{name}": f"def test_{name}(gate):\n    gate({name!r})\n"})

    def more_regimes(self) -> None:
        """A conftest that adds the regimes ``same``, ``slight`` and ``destroyed``."""
        self.pytester.makeconftest(MORE_REGIMES)
        package = self.pytester.mkpydir("mine")
        (package / "noise.py").write_text(_dedented(NOISE))

    def run(self, *arguments: str, **options: object) -> pytest.RunResult:
        """Run pytest in this process; ``options`` are --qllm-* over the suite's own (None: not given)."""
        return self.pytester.runpytest_inprocess(
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            *self.arguments(**options),
            *arguments,
            *IMPORTED_BEFORE,
        )

    def arguments(self, **options: object) -> list[str]:
        given = {**self.options, **options}
        return [f"--qllm-{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]

    @property
    def path(self) -> Path:
        return self.pytester.path

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.path / "reports/qllm.json").read_text()))

    @property
    def verdicts(self) -> dict[tuple[str, str], dict[str, Any]]:
        """By regime and benchmark."""
        return {(verdict["regime"], verdict["benchmark"]): verdict for verdict in self.report["verdicts"]}

    @property
    def outcomes(self) -> dict[tuple[str, str], str]:
        return {place: verdict["verdict"] for place, verdict in self.verdicts.items()}

    def own_model(self) -> Path:
        """A copy of the model that a test may damage, from now on the one under test."""
        copy = self.path / "model"
        shutil.copytree(str(self.options["model"]), copy)
        self.options["model"] = copy
        return copy

    def own_data(self) -> Path:
        """A copy of the data that a test may damage, from now on in use."""
        copy = self.path / "data"
        shutil.copytree(str(self.options["data"]), copy)
        self.options["data"] = copy
        return copy


def assert_refused(result: pytest.RunResult, *words: str) -> None:
    """One line says it all: nothing passed, no traceback, and a line has all the words."""
    lines = [*result.outlines, *result.errlines]
    assert result.ret != 0
    if result.ret != pytest.ExitCode.USAGE_ERROR:
        assert "passed" not in result.parseoutcomes()
    traces = [line for line in lines if "Traceback" in line or "INTERNALERROR" in line or _PLACE.match(line)]
    assert not traces
    assert [line for line in lines if all(word in line for word in words)], "\n".join(lines)


_PLACE = re.compile(r"^\S+\.py:\d+: \w+|^\S+\.py:\d+: in ")
"""How pytest names the place of an exception."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, libraries: None) -> Path:
    from tiny import write_model

    directory = tmp_path_factory.mktemp("tiny") / "model"
    write_model(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    from tiny import write_data

    directory = tmp_path_factory.mktemp("tiny") / "data"
    write_data(directory, tiny_model)
    return directory


@pytest.fixture(scope="session", autouse=True)
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All that a run imports, imported once: pytester forgets what a run in this process imports first.

    One thread each, so that tests do not slow each other down: tiny matrices gain nothing from a second one.
    """
    for module in pkgutil.walk_packages(pytest_qllm.__path__, "pytest_qllm."):
        importlib.import_module(module.name)
    import bitsandbytes  # noqa: F401
    import datasets
    import lm_eval.api.task
    import lm_eval.utils
    import torch
    import transformers.integrations.bitsandbytes
    import transformers.models.llama.modeling_llama
    import transformers.quantizers.auto  # noqa: F401

    for library in ("optimum.quanto", "torchao", "hqq"):  # which register kernels with torch, once in a process
        with suppress(ImportError):
            importlib.import_module(library)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        # What takes most of a tiny run otherwise: templates compiled for every item, versions read, garbage collected.
        patch.setattr(lm_eval.utils.env, "from_string", functools.cache(lm_eval.utils.env.from_string))
        patch.setattr(importlib.metadata, "version", functools.cache(importlib.metadata.version))
        gc.freeze()
        yield
        gc.unfreeze()
    torch.set_num_threads(threads)


@pytest.fixture
def user_cache(monkeypatch: pytest.MonkeyPatch) -> str | None:
    """XDG_CACHE_HOME as it was outside, for tests that need what is fetched once for all."""
    return _USER_CACHE


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, tiny_data: Path) -> Suite:
    """Regimes bnb-int8, which passes lambada and story_perplexity here, and bnb-nf4, which fails both."""
    from pytest_qllm.benchmarks.lm_eval import LmEvalBenchmark

    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)  # pytester's home is empty: each test has its own cache
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    suite = Suite(
        pytester,
        {
            "model": tiny_model,
            "data": tiny_data,
            "regimes": "bnb-int8,bnb-nf4",
            "dtype": "float32",
            "device": "cpu",
            "store": pytester.path / "store",
        },
    )
    _count(monkeypatch, LmEvalBenchmark, suite.scored)
    return suite


def _count(monkeypatch: pytest.MonkeyPatch, benchmark: Any, scored: list[tuple[str, int]]) -> None:
    """Count what is scored in the fixed order; items are asked again for the noise floor in the reverse order."""
    score: Callable[..., Any] = benchmark.score

    def counted(self: Any, items: Any, engine: Any) -> Any:
        # Texts come with what observes them; an engine whose answers are kept is made when one is lacking.
        runner = getattr(getattr(engine, "engine", engine), "runner", None)
        if not hasattr(runner, "budget") or runner.budget.slots > 1:
            scored.append((self.benchmark.name, len(items)))
        return score(self, items, engine)

    monkeypatch.setattr(benchmark, "score", counted)


def _no_network(*_: object) -> None:
    raise OSError(errno.ENETUNREACH, "these tests have no network")


def _dedented(text: str) -> str:
    import textwrap

    return textwrap.dedent(text).lstrip()
