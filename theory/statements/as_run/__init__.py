"""Theorems about rules as they are run: sign steps at a given rate, and preconditioned steps with a running preconditioner."""
