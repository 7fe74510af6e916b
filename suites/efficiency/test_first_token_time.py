def test_first_token_time(efficiency):
    efficiency("first_token_time")
