"""Faults planted in short real runs, healthy runs beside them, and what Accord says of each."""
