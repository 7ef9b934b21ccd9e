"""Rewards: what an answer is worth, by functions, reward models and weighted sums of them."""
