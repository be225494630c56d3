"""Derivations of the theorems about preconditioned rules, with their definitions."""
