"""Reliability and security, row by row: what is done to Accord, and what it must answer."""
