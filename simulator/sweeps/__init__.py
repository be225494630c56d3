"""Sweeps: a grid of problems, optimizers and learning rates, to results on disk."""
