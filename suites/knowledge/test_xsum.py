def test_xsum(gate):
    gate("xsum")


def test_xsum_rouge1(gate):
    gate("xsum", metric="rouge1")


def test_xsum_rouge2(gate):
    gate("xsum", metric="rouge2")
