"""The fixtures `gate` and `regime`: what a user's own test file can do with them."""

from __future__ import annotations

import pytest

from conftest import Suite, assert_refused

NEVER = "the test asked for `gate` and never called it"


@pytest.fixture(autouse=True)
def int8(suite: Suite) -> None:
    suite.options["regimes"] = "bnb-int8"


def test_three_lines_of_the_users_own(suite: Suite) -> None:
    suite.pytester.makepyfile(
        test_release="""
        def test_it_still_finds_the_last_word(gate):
            gate("lambada")
        """
    )
    suite.run().assert_outcomes(passed=2)
    assert suite.outcomes == {("bnb-int8", "lambada"): "PASS"}


def test_a_gate_that_is_never_called_fails(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_nothing(gate): pass")
    result = suite.run()
    assert result.parseoutcomes()["errors"] == 2
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.stdout.str().count(NEVER) >= 2


def test_a_test_that_fails_before_it_calls_the_gate_fails_once(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_nothing(gate): raise RuntimeError('mine')")
    result = suite.run()
    result.assert_outcomes(failed=2)
    assert NEVER not in result.stdout.str()


@pytest.mark.parametrize("why", ["pytest.skip('not for 8 bits')", "pytest.xfail('known')"])
def test_a_test_may_skip_itself_before_it_calls_the_gate(suite: Suite, why: str) -> None:
    suite.pytester.makepyfile(
        f"""
        import pytest

        def test_lambada(gate, regime):
            if regime.bits == 8:
                {why}
            gate("lambada")
        """
    )
    result = suite.run()
    assert "errors" not in result.parseoutcomes()
    assert result.ret == 0


def test_another_fixture_may_skip_the_test(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def weekend(gate):
            pytest.skip("only at weekends")

        def test_lambada(gate, weekend):
            gate("lambada")
        """
    )
    suite.run().assert_outcomes(skipped=2)


def test_an_unknown_benchmark(suite: Suite) -> None:
    suite.gates("lambda")
    assert_refused(suite.run(), "unknown benchmark 'lambda'", "nearest names: lambada")


def test_an_unknown_metric(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_lambada(gate): gate('lambada', metric='bleu')")
    assert_refused(suite.run(max_items=8), "lambada has no metric 'bleu'", "measured: acc")


def test_another_metric_of_the_task(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_arc_easy(gate): gate('arc_easy', metric='acc_norm')")
    suite.run()
    assert suite.verdicts["bnb-int8", "arc_easy"]["metric"] == "acc_norm"


@pytest.mark.parametrize("items", ["0", "-3", "2.5", "True", "'all'"])
def test_items_that_are_no_number(suite: Suite, items: str) -> None:
    suite.pytester.makepyfile(f"def test_lambada(gate): gate('lambada', items={items})")
    assert_refused(suite.run(), "items is", "expected a whole number from 1")


@pytest.mark.parametrize("tolerance", ["-0.1", "1", "'wide'", "True", "float('nan')"])
def test_a_tolerance_that_is_none(suite: Suite, tolerance: str) -> None:
    suite.pytester.makepyfile(f"def test_lambada(gate): gate('lambada', tolerance={tolerance})")
    assert_refused(suite.run(max_items=8), "tolerance", "is out of range")


def test_what_the_gate_returns(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        def test_lambada(gate, regime):
            record = gate("lambada")
            assert record.regime == regime.name
            assert record.baseline == (0.95 if regime.is_baseline else 0.9)  # which only goes ahead, with 40 items
            assert record.outcome == (None if regime.is_baseline else "PASS")
        """
    )
    suite.run().assert_outcomes(passed=2)


def test_two_gates_in_one_test(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        def test_language(gate):
            gate("lambada")
            gate("story_perplexity")
        """
    )
    suite.run().assert_outcomes(passed=2)
    assert set(suite.outcomes) == {("bnb-int8", "lambada"), ("bnb-int8", "story_perplexity")}


def test_what_passed_before_a_failure_is_reported(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        def test_language(gate):
            gate("lambada")
            gate("story_perplexity", tolerance=1.0)
        """
    )
    suite.run().assert_outcomes(passed=1, failed=1)
    assert suite.outcomes["bnb-int8", "lambada"] == "PASS"
    assert suite.outcomes["bnb-int8", "story_perplexity"] != "PASS"


def test_beside_the_users_own_parameters(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("benchmark", ["lambada", "story_perplexity"])
        def test_language(gate, benchmark):
            gate(benchmark)
        """
    )
    result = suite.run("-v")
    result.assert_outcomes(passed=4)
    assert set(suite.outcomes.values()) == {"PASS"}
    names = [
        line.split("[")[1].split("]")[0]
        for line in result.outlines
        if line.count("::test_language[") == 1 and "%]" in line
    ]
    assert ["fp16" in name for name in dict.fromkeys(names)] == [True, True, False, False]


def test_in_a_class_and_in_a_folder(suite: Suite) -> None:
    folder = suite.pytester.mkdir("release")
    (folder / "test_release.py").write_text(
        "class TestRelease:\n    def test_lambada(self, gate):\n        gate('lambada')\n"
    )
    suite.run().assert_outcomes(passed=2)


def test_an_accepted_loss_is_a_strict_xfail(suite: Suite) -> None:
    suite.pytester.makepyfile(
        """
        import pytest

        def test_lambada(gate, regime, request):
            if regime.name == "bnb-nf4":
                request.applymarker(pytest.mark.xfail(strict=True, reason="accepted for release 1"))
            gate("lambada")
        """
    )
    suite.run(regimes="bnb-int8,bnb-nf4").assert_outcomes(passed=2, xfailed=1)
    assert suite.outcomes["bnb-nf4", "lambada"] == "FAIL"


def test_the_regime_without_a_gate(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_bits(regime): assert regime.bits in (8, 16)")
    suite.run().assert_outcomes(passed=2)


def test_tests_without_a_gate_are_left_alone(suite: Suite) -> None:
    suite.pytester.makepyfile("def test_one(): pass\ndef test_two(gate): gate('lambada')\ndef test_three(): pass")
    result = suite.run("-v")
    names = [line.split("::")[1].split()[0] for line in result.outlines if ".py::" in line and "%" in line]
    assert names == ["test_one", "test_three", "test_two[fp16]", "test_two[bnb-int8]"]
