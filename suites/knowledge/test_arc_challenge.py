def test_arc_challenge(gate):
    gate("arc_challenge")
