def test_ifeval(gate):
    gate("ifeval")
