"""Intervals and verdicts: thin over scipy and statsmodels."""
