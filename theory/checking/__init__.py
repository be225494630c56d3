"""Checking: a theorem against a run, in floats, in rationals, and as columns of a sweep."""
