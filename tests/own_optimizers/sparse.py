"""A class that takes no step on dense gradients."""

import torch


class Sparse(torch.optim.SparseAdam):
    """Wants sparse gradients."""
