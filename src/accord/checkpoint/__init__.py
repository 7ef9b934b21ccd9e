"""Weights at rest: Hugging Face's names and folders, and the store that a run resumes from."""
