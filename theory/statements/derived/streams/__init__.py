"""Derivations about means over the draws of a stream of samples."""
