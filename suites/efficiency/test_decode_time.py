def test_decode_time(efficiency):
    efficiency("decode_time")


def test_decode_time_batch8(efficiency):
    efficiency("decode_time", batch=8)
