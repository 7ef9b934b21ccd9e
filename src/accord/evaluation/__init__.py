"""Numbers about policies: fixed prompts, scorers, KL, intervals, findings. Trains nothing."""
