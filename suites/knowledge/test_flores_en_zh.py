def test_flores_en_zh(gate):
    gate("flores_en_zh")
