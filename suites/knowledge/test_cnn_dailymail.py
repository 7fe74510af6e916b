def test_cnn_dailymail(gate):
    gate("cnn_dailymail")


def test_cnn_dailymail_rouge1(gate):
    gate("cnn_dailymail", metric="rouge1")


def test_cnn_dailymail_rouge2(gate):
    gate("cnn_dailymail", metric="rouge2")
