"""Intervals and verdicts: thin over scipy."""
