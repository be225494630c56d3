"""Statements: theorems as objects, with their proofs."""
