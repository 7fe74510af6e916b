def test_lambada(gate):
    gate("lambada")
