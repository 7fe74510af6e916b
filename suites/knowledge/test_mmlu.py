def test_mmlu(gate):
    gate("mmlu")
