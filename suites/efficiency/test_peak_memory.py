def test_peak_memory(efficiency):
    efficiency("peak_memory")
