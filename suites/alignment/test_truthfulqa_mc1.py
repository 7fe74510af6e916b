def test_truthfulqa_mc1(gate):
    gate("truthfulqa_mc1")
