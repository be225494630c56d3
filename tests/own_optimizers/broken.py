"""A class whose step has a mistake."""

import torch


class Broken(torch.optim.SGD):
    """Reads what it has not."""

    def step(self, closure=None):
        """Take no step."""
        self.momentum_buffer.mul_(0.9)
