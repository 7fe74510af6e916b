def test_alignment(gate):
    gate.dimension("alignment")
