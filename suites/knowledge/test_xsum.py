def test_xsum(gate):
    gate("xsum")
