def test_boolq(gate):
    gate("boolq")
