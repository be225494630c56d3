"""Statements where H couples the blocks of rules: bounds that survive, and descent in any norm (docs/theory.md section 10)."""
