"""Exact statements about parts of toy models, memories of gradients and streams of samples, none of which is a run."""
