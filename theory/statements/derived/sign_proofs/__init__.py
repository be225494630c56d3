"""Derivations of the theorems about sign steps, scales of blocks and pairs of eigenvalues, one module an idea."""
