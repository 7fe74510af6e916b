def test_weight_memory(efficiency):
    efficiency("weight_memory")
