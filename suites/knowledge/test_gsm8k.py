def test_gsm8k(gate):
    gate("gsm8k")
