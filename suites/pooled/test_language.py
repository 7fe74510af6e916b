def test_language(gate):
    gate.dimension("language")
