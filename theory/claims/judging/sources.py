"""The papers whose claims are tried."""

__all__ = ["BEYOND", "TOMIHARI", "ZHANG"]

ZHANG = "Zhang et al."
"""Why Transformers Need Adam: A Hessian Perspective, arXiv 2402.16788."""
TOMIHARI = "Tomihari and Sato"
"""Understanding Transformer Optimization via Gradient Heterogeneity, arXiv 2502.00213."""
BEYOND = "Beyond the papers"
"""Experiments that neither paper has."""
