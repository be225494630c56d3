"""The updates that the baselines in torch are timed with: independent of quadsim's rules, which they are compared with."""

import torch

__all__ = ["TorchUpdate"]

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class TorchUpdate:
    """The update of one optimizer, in place, with states allocated once.

    Args:
        rule: gd, signsgd or adam (with torch's default settings).
        like: the error, of which the states have shape, type and device.
        lr: learning rates that broadcast against it.
    """

    def __init__(self, rule: str, like: torch.Tensor, lr: torch.Tensor) -> None:
        self._rule, self._lr = rule, lr
        self._m, self._v = torch.empty_like(like), torch.empty_like(like)
        self._p1, self._p2 = (torch.ones((), dtype=like.dtype, device=like.device) for _ in range(2))

    def start(self) -> None:
        """Go back to the start."""
        for state in (self._m, self._v):
            state.zero_()
        for clock in (self._p1, self._p2):
            clock.fill_(1.0)

    def step(self, e: torch.Tensor, g: torch.Tensor) -> None:
        """Move the error e by one step with the gradient g."""
        m, v, lr = self._m, self._v, self._lr
        if self._rule == "gd":
            e.sub_(g * lr)
        elif self._rule == "signsgd":
            e.sub_(torch.sign(g).mul_(lr))
        else:
            self._p1.mul_(_BETA1)
            self._p2.mul_(_BETA2)
            m.mul_(_BETA1).add_(g, alpha=1 - _BETA1)
            v.mul_(_BETA2).addcmul_(g, g, value=1 - _BETA2)
            e.sub_((m * (lr / (1 - self._p1))).div_((v / (1 - self._p2)).sqrt_().add_(_EPS)))
