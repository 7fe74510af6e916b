"""A tolerance as a share of the baseline's score: gate(..., tolerance="90%"), the marker and the table."""

from __future__ import annotations

import json

import pytest

from conftest import Suite, assert_refused
from pytest_qllm.cli import main


@pytest.fixture(autouse=True)
def gates(suite: Suite) -> None:
    suite.gates("lambada")
    suite.options["regimes"] = "bnb-int8"


def asked(suite: Suite, tolerance: str, benchmark: str = "lambada") -> None:
    suite.pytester.makepyfile(test_lambada=f"def test_it(gate):\n    gate({benchmark!r}, tolerance={tolerance!r})\n")


def test_the_call_s_own_word(suite: Suite) -> None:
    asked(suite, "90%")
    suite.run(regimes="bnb-int8,bnb-nf4").assert_outcomes(passed=2, failed=1)
    verdict = suite.verdicts["bnb-int8", "lambada"]
    assert (verdict["verdict"], verdict["scale"], verdict["tolerance"]) == ("PASS", "relative", 0.1)
    assert verdict["effect"] == pytest.approx(verdict["candidate"] / verdict["baseline"] - 1)
    assert "relative (MOVER)" in verdict["interval"]
    assert verdict["flips"]["broken"] is not None


def test_the_message_speaks_of_shares(suite: Suite) -> None:
    asked(suite, "97 %")
    result = suite.run(regimes="bnb-nf4")
    result.stdout.fnmatch_lines(
        [
            "FAIL: lambada on bnb-nf4 *",
            "  effect      -* % of the baseline's score, between -* % and -* % *",
            "  tolerance   -3.0 % of the baseline's score: the loss is proven larger",
        ]
    )
    result.stdout.fnmatch_lines(["effect: points of accuracy, % of the baseline's score, *"])


def test_the_table(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml('[tool.qllm.tolerances]\nlambada = {8 = "90%"}')
    suite.run().assert_outcomes(passed=2)
    assert suite.verdicts["bnb-int8", "lambada"]["scale"] == "relative"


def test_the_marker(suite: Suite) -> None:
    suite.pytester.makepyfile(
        test_lambada="""
        import pytest

        @pytest.mark.qllm_tolerance({8: "90%"})
        def test_lambada(gate):
            gate("lambada")
        """
    )
    suite.run().assert_outcomes(passed=2)
    assert suite.verdicts["bnb-int8", "lambada"]["tolerance"] == 0.1


def test_a_perplexity_is_a_ratio_already(suite: Suite) -> None:
    asked(suite, "99%", "story_perplexity")
    assert_refused(suite.run(), "the tolerance '99%' is out of range: a perplexity's is a ratio already")


def test_five_percent_is_no_share_to_keep(suite: Suite) -> None:
    asked(suite, "5%")
    assert_refused(suite.run(), "the tolerance '5%' is out of range", 'such as "99%"')


def test_its_power_is_not_planned(suite: Suite) -> None:
    asked(suite, "90%")
    suite.run(plan=None)
    result = suite.run("--qllm-plan")
    plan = next(one for one in json.loads((suite.path / "reports/plan.json").read_text())["plans"] if one["tolerance"])
    assert (plan["scale"], plan["tolerance"], plan["power"], plan["undecided"]) == ("relative", 0.1, None, "")
    result.stdout.fnmatch_lines(["lambada * bnb-int8 * 10 % *", "power is planned for accuracies in points; *"])


def test_a_known_loss_is_a_share_too(suite: Suite) -> None:
    suite.pytester.makepyprojecttoml(
        """
        [tool.qllm.tolerances]
        lambada = {4 = "97%"}
        [tool.qllm.expected.bnb-nf4.lambada]
        reason = "tiny"
        bound = "55%"
        """
    )
    suite.run(regimes="bnb-nf4").assert_outcomes(passed=1, xfailed=1)
    assert suite.verdicts["bnb-nf4", "lambada"]["expected"]["bound"] == 0.45


def test_a_previous_release_is_compared_by_shares(suite: Suite) -> None:
    asked(suite, "90%")
    suite.run(report="old")
    suite.run(against="old/qllm.json")
    since = suite.verdicts["bnb-int8", "lambada"]["against"]
    assert (since["verdict"], since["regime"]["effect"]) == ("PASS", 0.0)
    assert "relative" in since["regime"]["interval"]


def test_the_listing_shows_it_as_written_and_prob(suite: Suite, capsys: pytest.CaptureFixture[str]) -> None:
    file = suite.path / "mine.toml"
    file.write_text('[tool.qllm.tolerances]\nlambada = {8 = "90%"}\n')
    assert main(["tolerances", "--file", str(file)]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["lambada"][0] == "90%"
    assert rows["prob"] == ["0.025", "0.035", "0.05", "0.07"]
    assert main(["tolerances", "--file", str(file), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert (table["lambada"]["8"], table["lambada"]["4"], table["prob"]["8"]) == ("90%", 0.04, 0.025)
