"""What TRL and transformers answer where the battery asks Accord the same."""
