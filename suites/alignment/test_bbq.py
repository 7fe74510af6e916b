def test_bbq(gate):
    gate("bbq")
