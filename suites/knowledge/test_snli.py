def test_snli(gate):
    gate("snli")
