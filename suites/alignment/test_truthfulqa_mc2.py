def test_truthfulqa_mc2(gate):
    gate("truthfulqa_mc2")
