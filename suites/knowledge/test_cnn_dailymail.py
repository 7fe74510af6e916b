def test_cnn_dailymail(gate):
    gate("cnn_dailymail")
