def test_flores_zh_en(gate):
    gate("flores_zh_en")
