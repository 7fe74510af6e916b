def test_followbench(gate):
    gate("followbench")


def test_followbench_soft(gate):
    gate("followbench", metric="ssr")


def test_followbench_consistent(gate):
    gate("followbench", metric="csl")


def test_followbench_rules(gate):
    gate("followbench_rules")
