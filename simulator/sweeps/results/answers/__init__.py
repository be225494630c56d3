"""The answer of a sweep in words: how steps grow, who leads, what momentum does, and how certain it is."""
