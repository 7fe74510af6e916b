def test_c4(gate):
    gate("c4")
