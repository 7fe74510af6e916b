def test_gsm8k_zeroshot(gate):
    gate("gsm8k_zeroshot")
