"""Instances of the statements that are about no run: heads, parts of toy models and memories of gradients."""
