"""Runs: the results of simulation and training."""
