"""Curvature: Hessians of toy models, their spectra, and what is measured along training."""
