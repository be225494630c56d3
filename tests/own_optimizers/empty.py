"""A file without an optimizer."""

BETA = 0.9
