def test_load_time(efficiency):
    efficiency("load_time")
