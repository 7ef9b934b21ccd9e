"""The maths: tensors in, sums and metrics out. Each function has a float64 twin in tests/."""
