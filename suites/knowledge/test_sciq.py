def test_sciq(gate):
    gate("sciq")
