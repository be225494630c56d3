"""Definitions of derivations about sign steps, scales of blocks and pairs of eigenvalues."""
