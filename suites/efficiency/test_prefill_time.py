def test_prefill_time(efficiency):
    efficiency("prefill_time")
