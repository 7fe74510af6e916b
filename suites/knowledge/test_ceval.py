def test_ceval(gate):
    gate("ceval")
