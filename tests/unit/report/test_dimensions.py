from pytest_qllm.report import dimensions


def test_what_a_regime_can_do_comes_before_what_it_costs():
    told = ["efficiency", "zeal", "language", "alignment", "custom", "knowledge"]
    assert sorted(told, key=dimensions.order) == ["knowledge", "alignment", "language", "custom", "zeal", "efficiency"]
