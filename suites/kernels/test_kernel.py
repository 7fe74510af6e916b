def test_kernel(gate):
    gate.kernel()
