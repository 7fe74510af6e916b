def test_bbh(gate):
    gate("bbh")
