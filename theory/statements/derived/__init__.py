"""Derivations: from definitions and hypotheses, step by step, to the statement itself with its quantifiers."""
