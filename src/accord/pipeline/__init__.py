"""From a recipe to its artifacts: what runs, in which order, and what is reused. No torch."""
