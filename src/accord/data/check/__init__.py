"""What a data file holds and what is wrong with it: measured, judged, and shown."""

from accord.data.check.document import Check, check_file
from accord.data.check.finding import Finding
from accord.data.check.reading import named_source
from accord.data.check.tokens import for_training
from accord.data.check.warn import warnings_of

__all__ = ["Check", "Finding", "check_file", "for_training", "named_source", "warnings_of"]
