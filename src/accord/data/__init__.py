"""Rows: where they come from, whether they are sound, in which order they are seen."""
