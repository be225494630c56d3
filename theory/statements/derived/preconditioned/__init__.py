"""Definitions for derivations about preconditioned rules, and the steps of those rules."""
