def test_hellaswag(gate):
    gate("hellaswag")
