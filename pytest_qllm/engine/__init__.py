"""How a model answers: log-likelihoods, generation and rolling log-likelihoods."""
