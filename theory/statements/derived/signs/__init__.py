"""Definitions and derivations of the theorems about sign steps, and about scales of blocks and pairs of eigenvalues."""
