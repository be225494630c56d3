"""Figures: of sweeps, inspections and local models."""
