def test_wikitext2(gate):
    gate("wikitext2")
