def test_piqa(gate):
    gate("piqa")
