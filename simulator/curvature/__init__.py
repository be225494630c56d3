"""Curvature: Hessians of toy models, their spectra, and metrics along training."""
