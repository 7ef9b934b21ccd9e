"""Roll-out: tokens drawn from a model, and the log-probabilities they were drawn at."""
