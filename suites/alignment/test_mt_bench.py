def test_mt_bench(gate):
    gate("mt_bench")
