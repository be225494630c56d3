"""Checking: compare theorems with runs, in floats, in rationals, and as columns of a sweep."""
