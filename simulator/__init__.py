"""Simulator: what is run."""
