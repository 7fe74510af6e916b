def test_ptb(gate):
    gate("ptb")
