"""One pytest session: what was chosen, the gate of this process, and the records that come back on reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_qllm.errors import QllmError
from pytest_qllm.options import Settings, cache_directory
from pytest_qllm.questions import Questions
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.schedule import regime_of
from pytest_qllm.stash import FETCHED, KERNELS, OUTCOME, PLANS, RECORDS, SESSION

if TYPE_CHECKING:
    from pytest_qllm.against import Previous
    from pytest_qllm.benchmarks.benchmark import Benchmark
    from pytest_qllm.fetch import Fetched
    from pytest_qllm.gate import Gate, Question
    from pytest_qllm.measure import Laboratory
    from pytest_qllm.plan import Plan
    from pytest_qllm.planner import Planner
    from pytest_qllm.progress import Reporter
    from pytest_qllm.report.record import Record


def session_of(config: pytest.Config) -> Session:
    return config.stash[SESSION]


class Session:
    """State of the plugin in one process: a worker, the controller, or both at once without xdist."""

    def __init__(
        self, config: pytest.Config, settings: Settings, regimes: RegimeCatalog, previous: Previous | None = None
    ) -> None:
        self.config = config
        self.settings = settings
        self.regimes = regimes
        self.previous = previous
        self.questions = Questions(config, settings, regimes)
        self.regime_names = [regime.name for regime in regimes.choose(settings.regimes)]
        self._spelled = {regimes.get(text).name: text for text in settings.regimes}
        self.is_worker = hasattr(config, "workerinput")
        self.records: list[Mapping[str, Any]] = []
        self.kernels: list[Mapping[str, Any]] = []
        self.errors: list[dict[str, str]] = []
        self.plans: list[Mapping[str, Any]] = []
        self.fetched: list[Mapping[str, Any]] = []
        self._gate: Gate | None = None
        self._planner: Planner | None = None
        self._report_line = ""
        self._asked: dict[Hashable, list[str]] = defaultdict(list)

    @classmethod
    def start(cls, config: pytest.Config) -> Session:
        settings = Settings.from_config(config)
        added = [regime for regimes in config.hook.pytest_qllm_regimes() for regime in regimes]
        catalog = RegimeCatalog(
            added, settings.regime_tables, settings.tolerances_file, config.rootpath, settings.trust_remote_code
        )
        return cls(config, settings, catalog, _previous(settings, config))

    # In the process that runs tests.

    def sized(self, regime: Regime) -> Regime:
        """The regime with the bits that its weights really take, for the tolerance; a plan makes no artifact."""
        if self.settings.plan:
            return self.planner.laboratory.sized(regime, make=False)
        return self.gate.laboratory.sized(regime)

    def rerun(self, node: pytest.Item, regime: str) -> str:
        """The command that runs a test again, with its regime as the user wrote it."""
        return self.settings.rerun(node.nodeid, self._spelled.get(regime, regime))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which regimes are asked the same: every worker collects all tests that were selected."""
        for item in session.items:
            callspec = getattr(item, "callspec", None)
            if callspec is not None and "qllm_regime" in callspec.params:
                self._asked[_test_of(item)].append(callspec.params["qllm_regime"])

    def followers(self, node: pytest.Item) -> list[Regime]:
        """The regimes of which this session asks the same as of the baseline, and which can run here."""
        regimes = [self.regimes.get(name) for name in self._asked[_test_of(node)]]
        return [one for one in regimes if not one.is_baseline and one.missing() is None and one.needs_device() is None]

    def answer(self, question: Question, regime: Regime, node: pytest.Item) -> Record:
        if regime.is_baseline:
            return self.gate.measure_baseline(question, goes_ahead=bool(self.followers(node)))
        return self.gate.ask(question, regime)

    @property
    def gate(self) -> Gate:
        if self._gate is None:
            self._gate = self._make_gate()
        return self._gate

    def plan(self, question: Question, regime: Regime, node: pytest.Item, asked: Callable[[Regime], Question]) -> Plan:
        """What a call of ``gate`` would decide and cost; loads no model. ``asked``: what it asks of a regime."""
        followers = []
        if regime.is_baseline:
            for follower in self.followers(node):
                with suppress(QllmError):  # what is wrong with that one is told by its own test
                    one = self.sized(follower)
                    followers.append((asked(one), one))
        return self.planner.plan(question, regime, followers)

    def fetch(self, benchmark: Benchmark | None, regime: Regime) -> list[Fetched]:
        """Bring what a test needs, and measure nothing."""
        from pytest_qllm.fetch import Fetcher

        settings = self.settings
        return Fetcher(self.gate.laboratory, settings.model, trusted=settings.trusts_model).fetch(benchmark, regime)

    @property
    def planner(self) -> Planner:
        if self._planner is None:
            from pytest_qllm.planner import Planner
            from pytest_qllm.progress import Reporter

            laboratory = self._make_laboratory(Reporter.of(self.settings.store, self.config), fetch=False)
            self._planner = Planner(laboratory, self.settings.model, self.settings.max_items)
        return self._planner

    def _make_gate(self) -> Gate:
        from pytest_qllm.gate import Gate
        from pytest_qllm.progress import Reporter

        reporter = Reporter.of(self.settings.store, self.config)
        laboratory = self._make_laboratory(reporter)
        return Gate(
            laboratory, self.regimes.get(self.regime_names[0]), self.settings.model, reporter.tell, self.previous
        )

    def laboratory(self) -> Laboratory:
        """Another one of this session's model, with an engine of its own."""
        from pytest_qllm.progress import Reporter

        return self._make_laboratory(Reporter.of(self.settings.store, self.config))

    def forget(self) -> None:
        """Free the memory of the model that the gate measured last."""
        if self._gate is not None:
            self._gate.laboratory.forget()

    def _make_laboratory(self, reporter: Reporter, *, fetch: bool = True) -> Laboratory:
        from pytest_qllm.benchmarks.data import DataSource
        from pytest_qllm.benchmarks.judge import Endpoint
        from pytest_qllm.compute import choose
        from pytest_qllm.dimension import DimensionLaboratory
        from pytest_qllm.models import source
        from pytest_qllm.store import Store

        settings = self.settings
        store = Store(settings.store, reporter)
        cache = Store(cache_directory(), reporter)
        return DimensionLaboratory(
            lambda: source.resolve(settings.model, cache, fetch=fetch, trusted=settings.trusts_model),
            DataSource(settings.data, cache),
            choose(settings.dtype, settings.device, settings.workers, settings.worker),
            settings.seed,
            store,
            exact_kernels=settings.exact_kernels,
            chat_template=settings.chat_template,
            judge=Endpoint.named(settings.judge, settings.judge_model, settings.seed),
        )

    def conclude(self, record: Record) -> None:
        """End the test as its verdict says; a baseline and a PASS go on."""
        if record.has_slid and record.standing != "xfail":  # a loss that is accepted is accepted since then, too
            pytest.fail(record.message(record.rerun), pytrace=False)
        if record.outcome in (None, "PASS"):
            if record.standing == "mended" and not self.config.getoption("runxfail", False):
                pytest.fail(record.message(record.rerun), pytrace=False)
            return
        if record.outcome == "NO_SIGNAL":
            pytest.skip(f"NO_SIGNAL: {record.reason}")
        if record.outcome == "UNGATED":
            pytest.skip(record.message(record.rerun))
        message = record.message(record.rerun)
        if record.standing == "xfail":
            pytest.xfail(record.accepted())  # which does nothing under --runxfail, so that the test fails as it would
        if record.outcome == "INCONCLUSIVE" and self.settings.inconclusive != "fail":
            if self.settings.inconclusive == "skip":
                pytest.skip(message)
            return
        pytest.fail(message, pytrace=False)

    # In the process that reports.

    def pytest_sessionstart(self) -> None:
        if not self.is_worker and not self.config.option.collectonly:
            from pytest_qllm.live import Board

            Board.watch(
                self.config, self.settings.store, lambda nodeid: regime_of(nodeid, self.regime_names) is not None
            )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self.is_worker:
            return
        crashed = report.when not in ("setup", "call", "teardown")  # xdist's own report of a test that ended its worker
        records = getattr(report, "qllm", [] if crashed else None)
        regime = regime_of(report.nodeid, self.regime_names)
        if records is None or regime is None:
            return
        kernels = getattr(report, "qllm_kernels", [])
        self.records += records
        self.kernels += kernels
        self.plans += getattr(report, "qllm_plans", [])
        self.fetched += getattr(report, "qllm_fetched", [])
        if report.failed and not (records or kernels):
            lines = [line for line in report.longreprtext.splitlines() if line.strip()]
            self.errors.append({"test": report.nodeid, "regime": regime, "message": lines[-1] if lines else ""})

    def pytest_sessionfinish(self, exitstatus: int | pytest.ExitCode) -> None:
        if self.settings.fetch:
            return
        if not self.is_worker and self.settings.plan and (self.plans or self.errors):
            self._write_plan()
        elif not self.is_worker and (self.records or self.kernels or self.errors):
            self._report_line = self._publish(int(exitstatus))

    def _publish(self, exitstatus: int) -> str:
        """Write the report in its forms; the lines that say where."""
        from pytest_qllm import publish
        from pytest_qllm.report.html import write_beside
        from pytest_qllm.report.json import write

        path = self.settings.report / "qllm.json"
        about = provenance(self.settings)
        try:
            write(path, self.records, self.errors, about, self.kernels, self.settings.alpha, exitstatus)
        except QllmError as error:
            return f"no report: {error}"
        return "\n".join([f"report: {path}", write_beside(path), *publish.beside(path, os.environ)])

    def _write_plan(self) -> None:
        from pytest_qllm.plan import Plan
        from pytest_qllm.report import plan

        report = self.settings.report / "plan.json"
        try:
            plans = plan.in_order([Plan.from_json(content) for content in self.plans], self.regime_names)
            plan.write(report, plans, self.errors, provenance(self.settings))
            self._report_line = f"plan: {report}"
        except QllmError as error:
            self._report_line = f"no plan.json: {error}"

    def _show_plan(self, terminal: pytest.TerminalReporter) -> None:
        from pytest_qllm.plan import Plan
        from pytest_qllm.report import plan

        terminal.section("plan")
        for line, markup in plan.lines([Plan.from_json(one) for one in self.plans], self.errors, self.regime_names):
            terminal.write_line(line, **markup)
        terminal.write_line(self._report_line)

    def _show_fetched(self, terminal: pytest.TerminalReporter) -> None:
        from pytest_qllm.fetch import Fetched
        from pytest_qllm.report import fetch

        if self.fetched or self.errors:
            terminal.section("fetched")
            for line, markup in fetch.lines([Fetched.from_json(one) for one in self.fetched], self.errors):
                terminal.write_line(line, **markup)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.settings.plan and not self.is_worker and (self.plans or self.errors):
            self._show_plan(terminalreporter)
            return
        if self.settings.fetch and not self.is_worker:
            self._show_fetched(terminalreporter)
            return
        if self.is_worker or not (self.records or self.kernels or self.errors):
            return
        from pytest_qllm.report.baselines import on_most_items
        from pytest_qllm.report.kernel_record import KernelRecord
        from pytest_qllm.report.record import Record
        from pytest_qllm.report.terminal import summary

        terminal = terminalreporter
        terminal.section("quantization")
        records = on_most_items([Record.from_json(content) for content in self.records])
        kernels = [KernelRecord.from_json(content) for content in self.kernels]
        width = self.config.get_terminal_writer().fullwidth
        page, file = self.settings.report / "qllm.html", self.settings.report / "qllm.json"
        where = os.path.relpath(page if page.is_file() else file)
        about = (kernels, self.settings.alpha, where, self._report_line)
        for spans in summary(records, self.errors, self.regime_names, width, *about):
            for text, markup in spans:
                terminal.write(text, **markup)
            terminal.write_line("")


def _previous(settings: Settings, config: pytest.Config) -> Previous | None:
    """The previous release, read before any test runs: a wrong file is refused, and a session may overwrite it."""
    if not settings.against:
        return None
    from pytest_qllm.against import Previous

    return Previous.read(config.rootpath / Path(settings.against).expanduser(), settings.against)


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put the records of a test on its report: plain content that reaches the controller with it."""
    from pytest_qllm.report import junit

    if "qllm_regime" not in getattr(item, "fixturenames", ()):
        return
    report.__dict__["qllm"] = []
    report.__dict__["qllm_kernels"] = []
    report.__dict__["qllm_plans"] = []
    report.__dict__["qllm_fetched"] = []
    if report.when == "call":
        records = item.stash.get(RECORDS, [])
        kernels = item.stash.get(KERNELS, [])
        report.__dict__["qllm"] = list(records)
        report.__dict__["qllm_kernels"] = list(kernels)
        plans = item.stash.get(PLANS, [])
        report.__dict__["qllm_plans"] = list(plans)
        fetched = item.stash.get(FETCHED, [])
        report.__dict__["qllm_fetched"] = list(fetched)
        item.stash[OUTCOME] = report.outcome
        _mark_unexpected_passes(item, report, records)
        for record in records:
            item.user_properties += junit.properties(record)
        for kernel in kernels:
            item.user_properties += junit.kernel_properties(kernel)


def _mark_unexpected_passes(item: pytest.Item, report: pytest.TestReport, records: Sequence[Mapping[str, Any]]) -> None:
    """A loss that was expected and is gone shows as XPASS, as pytest's own mark does where it is not strict."""
    from pytest_qllm.report.record import Record

    expected = [Record.from_json(record) for record in records if record.get("expected")]
    mended = [record for record in expected if record.standing == "xpass"]
    if mended and report.passed and not item.config.getoption("runxfail", False):
        report.wasxfail = "; ".join(record.accepted() for record in mended)


def provenance(settings: Settings) -> dict[str, Any]:
    """What a reader needs to run this again: versions, machine, options."""
    names = [
        "pytest-qllm",
        "torch",
        "transformers",
        "tokenizers",
        "lm_eval",
        "datasets",
        "numpy",
        "scipy",
        "bitsandbytes",
        "gptqmodel",
    ]
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "versions": versions,
        "hardware": {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()},
        "settings": settings.to_json(),
    }


def _test_of(item: pytest.Item) -> Hashable:
    """What the tests of all regimes have in common: the function and every other parameter."""
    indices: dict[str, int] = getattr(getattr(item, "callspec", None), "indices", {})
    others = sorted((name, at) for name, at in indices.items() if name != "qllm_regime")
    return (item.nodeid.rpartition("::")[0], getattr(item, "originalname", item.name), *others)
