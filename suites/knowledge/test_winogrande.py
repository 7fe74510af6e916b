def test_winogrande(gate):
    gate("winogrande")
