"""Theorems about sign steps at a rate that is given, one module an idea: its proof; `theorems` registers them."""
