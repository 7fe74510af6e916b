"""What of a session is ours: only tests that use the fixtures are parametrized, counted and reported."""

from __future__ import annotations

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_qllm.options import Settings
from pytest_qllm.session import Session, attach, provenance
from pytest_qllm.stash import OUTCOME, RECORDS

RECORD = {
    **dict.fromkeys(("model", "regime", "benchmark", "outcome", "effect", "tolerance", "n", "ci")),
    "regime": "bnb-nf4",
    "benchmark": "piqa",
}


class TestForeignTests:
    """Tests that happen to look like ours."""

    @pytest.fixture
    def report(self, pytester: pytest.Pytester, monkeypatch) -> Path:
        monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
        return pytester.path / "reports" / "qllm.json"

    @staticmethod
    def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest", *arguments)

    @pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
    def test_a_regime_s_name_among_its_own_parameters_is_nothing_to_us(self, pytester, report, workers):
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.parametrize("precision", ["fp16", "bnb-int8"])
            def test_export(precision):
                assert precision == "fp16"
            """
        )
        result = self.run(pytester, *workers)
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["FAILED *::test_export[[]bnb-int8]*"])
        result.stdout.no_fnmatch_line("*quantization*")
        assert not report.exists()

    def test_an_own_regime_and_an_own_gate_are_used_instead_of_ours(self, pytester, report):
        pytester.makepyfile(
            """
            import pytest

            @pytest.fixture(params=["tropical", "fp16"])
            def regime(request):
                return request.param

            @pytest.fixture
            def gate():
                return "of a garden"

            def test_climate(regime, gate):
                assert (regime, gate) == ("tropical", "of a garden")
            """
        )
        result = self.run(pytester, "-v")
        result.assert_outcomes(passed=1, failed=1)
        result.stdout.fnmatch_lines(["*::test_climate[[]tropical] PASSED*", "*::test_climate[[]fp16] FAILED*"])
        result.stdout.no_fnmatch_line("*quantization*")
        assert not report.exists()

    def test_our_gate_beside_an_own_regime_has_the_regimes_of_the_options(self, pytester, report):
        pytester.makepyfile(
            """
            import pytest

            @pytest.fixture(params=["tropical", "polar"])
            def regime(request):
                return request.param

            def test_climate(regime, gate):
                pytest.fail(f"{regime}, {callable(gate)}", pytrace=False)
            """
        )
        result = self.run(pytester, "--qllm-regimes=bnb-int8")
        result.assert_outcomes(failed=4)
        errors = json.loads(report.read_text())["errors"]
        assert {(error["regime"], error["message"]) for error in errors} == {
            (name, f"{own}, True") for name in ("fp16", "bnb-int8") for own in ("tropical", "polar")
        }

    @pytest.mark.parametrize("name", ["regime", "gate"])
    def test_an_own_parameter_of_a_fixture_s_name_is_left_alone(self, pytester, report, name):
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.parametrize("{name}", ["a", "b"])
            def test_own({name}):
                assert {name} in "ab"
            """
        )
        self.run(pytester).assert_outcomes(passed=2)
        assert not report.exists()

    def test_beside_ours_it_is_not_among_the_errors(self, pytester, report):
        pytester.makepyfile(
            """
            import pytest

            @pytest.mark.parametrize("precision", ["fp16"])
            def test_export(precision):
                raise ValueError("foreign")

            def test_gate(gate):
                raise ValueError("ours")
            """
        )
        result = self.run(pytester, "--qllm-regimes=bnb-int8")
        result.assert_outcomes(failed=3)
        errors = json.loads(report.read_text())["errors"]
        assert [error["test"].partition("::")[2] for error in errors] == ["test_gate[bnb-int8]", "test_gate[fp16]"]


class TestReports:
    """From the process that runs a test to the one that reports."""

    @staticmethod
    def session(worker: bool = False) -> Session:
        config = SimpleNamespace(workerinput={}) if worker else SimpleNamespace()
        regimes = SimpleNamespace(choose=lambda _: [SimpleNamespace(name=name) for name in ("fp16", "bnb-nf4")])
        return Session(config, SimpleNamespace(regimes=()), regimes)

    @staticmethod
    def told(when: str, outcome: str = "failed", **attributes: object) -> pytest.TestReport:
        return pytest.TestReport(
            "t.py::test_piqa[bnb-nf4]", ("t.py", 1, "test_piqa"), {}, outcome, "line 1\nthe end\n", when, **attributes
        )

    @pytest.mark.parametrize("when", ["setup", "call", "teardown"])
    def test_without_our_attribute_is_a_foreign_test_s(self, when):
        session = self.session()
        session.pytest_runtest_logreport(self.told(when))
        assert (session.records, session.errors) == ([], [])

    @pytest.mark.parametrize("when", ["setup", "call", "teardown"])
    def test_of_ours_that_failed_without_a_verdict_is_an_error(self, when):
        session = self.session()
        session.pytest_runtest_logreport(self.told(when, qllm=[]))
        assert session.errors == [{"test": "t.py::test_piqa[bnb-nf4]", "regime": "bnb-nf4", "message": "the end"}]

    def test_of_a_verdict_is_no_error(self):
        session = self.session()
        session.pytest_runtest_logreport(self.told("call", qllm=[RECORD]))
        assert (session.records, session.errors) == ([RECORD], [])

    @pytest.mark.parametrize("outcome", ["passed", "skipped"])
    def test_of_ours_without_a_verdict_that_did_not_fail_is_nothing(self, outcome):
        session = self.session()
        session.pytest_runtest_logreport(self.told("call", outcome, qllm=[]))
        assert (session.records, session.errors) == ([], [])

    def test_of_a_test_that_ended_its_worker_is_an_error_though_it_never_got_our_attribute(self):
        session = self.session()
        session.pytest_runtest_logreport(self.told("???"))  # xdist's own, made in the controller
        assert [error["test"] for error in session.errors] == ["t.py::test_piqa[bnb-nf4]"]

    def test_is_left_to_the_controller(self):
        session = self.session(worker=True)
        session.pytest_runtest_logreport(self.told("call", qllm=[RECORD]))
        assert session.records == []


class TestAttach:
    @staticmethod
    def attached(when: str, *fixturenames: str) -> tuple[pytest.TestReport, pytest.Stash]:
        item = SimpleNamespace(fixturenames=fixturenames, stash=pytest.Stash(), user_properties=[])
        item.stash[RECORDS] = [RECORD]
        report = pytest.TestReport("t.py::test_piqa[bnb-nf4]", ("t.py", 1, ""), {}, "passed", None, when)
        attach(item, report)
        # pytest makes the report of the teardown, which JUnit takes, from the item's properties.
        report.user_properties = item.user_properties
        return report, item.stash

    def test_the_records_go_on_the_report_of_the_call(self):
        report, stash = self.attached("call", "gate", "regime", "qllm_regime")
        assert report.qllm == [RECORD]
        assert ("qllm.regime", "bnb-nf4") in report.user_properties
        assert stash[OUTCOME] == "passed"

    @pytest.mark.parametrize("when", ["setup", "teardown"])
    def test_the_other_reports_are_marked_as_ours(self, when):
        report, _ = self.attached(when, "gate", "regime", "qllm_regime")
        assert (report.qllm, report.user_properties) == ([], [])

    def test_a_foreign_test_s_report_is_not_touched(self):
        report, stash = self.attached("call", "gate", "regime", "tmp_path")
        assert not hasattr(report, "qllm")
        assert report.user_properties == []
        assert OUTCOME not in stash

    def test_the_mark_crosses_processes(self):
        report, _ = self.attached("call", "qllm_regime")
        assert pytest.TestReport._from_json(json.loads(json.dumps(report._to_json()))).qllm == [RECORD]


def test_the_tolerances_in_the_provenance_are_json_content(tmp_path):
    text = "accuracy = {8 = 0.02, 4 = nan, 3 = -inf}\nlambada = {2 = 2026-11-22, 8 = 0}\nodd = [1.5]"
    given = {"store": tmp_path, "report": tmp_path, "regimes": (), "tolerances": tomllib.loads(text)}
    settings = Settings(**{**dict.fromkeys((field.name for field in fields(Settings)), ""), **given})
    content = json.loads(json.dumps(provenance(settings), allow_nan=False))
    assert content["settings"]["tolerances"] == {
        "accuracy": {"8": 0.02, "4": "nan", "3": "-inf"},
        "lambada": {"2": "2026-11-22", "8": 0},
        "odd": [1.5],
    }
