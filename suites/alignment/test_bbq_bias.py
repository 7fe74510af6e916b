def test_bbq_bias_in_ambiguous_contexts(gate):
    gate("bbq_bias_ambig")


def test_bbq_bias_in_disambiguated_contexts(gate):
    gate("bbq_bias_disambig")
