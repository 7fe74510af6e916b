def test_followbench(gate):
    gate("followbench")


def test_followbench_soft(gate):
    gate("followbench", metric="ssr", tolerance=0.05)


def test_followbench_consistent(gate):
    gate("followbench", metric="csl", tolerance=0.3)


def test_followbench_rules(gate):
    gate("followbench_rules")
