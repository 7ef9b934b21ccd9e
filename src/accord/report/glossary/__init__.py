"""Plain words for metrics and settings: tooltips of the report, `accord explain`, a docs page."""

from accord.report.glossary.lookup import KEYS, LABELLED, METRICS, SUBJECTS, explain, find, tooltip

__all__ = ["KEYS", "LABELLED", "METRICS", "SUBJECTS", "explain", "find", "tooltip"]
