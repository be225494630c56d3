"""The papers whose claims are tried, and what the first criteria were fixed after."""

__all__ = ["BEYOND", "KUNSTNER", "PROTOTYPES", "SRECKOVIC", "TOMIHARI", "ZHANG"]

ZHANG = "Zhang et al."
"""Why Transformers Need Adam: A Hessian Perspective, arXiv 2402.16788."""
TOMIHARI = "Tomihari and Sato"
"""Understanding Transformer Optimization via Gradient Heterogeneity, arXiv 2502.00213."""
KUNSTNER = "Kunstner et al."
"""Noise Is Not the Main Factor Behind the Gap Between SGD and Adam on Transformers, But Sign Descent Might Be,
arXiv 2304.13960."""
SRECKOVIC = "Srećković et al."
"""Is your batch size the problem? Revisiting the Adam-SGD gap in language modeling, arXiv 2506.12543."""
BEYOND = "Beyond the papers"
"""Experiments that neither paper has."""
PROTOTYPES = "runs of a few seeds of prototypes"
"""What had been seen when the criteria of 2026-11-22 were fixed."""
