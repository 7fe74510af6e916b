def test_arc_easy(gate):
    gate("arc_easy")
