"""Theorems about rules with a running preconditioner, one module an idea: its proof; `theorems` registers them."""
