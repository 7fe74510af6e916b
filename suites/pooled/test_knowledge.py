def test_knowledge(gate):
    gate.dimension("knowledge")
