"""What no theorem here says of a rule, and claims that cannot be true, with the instance that refutes each."""

from collections.abc import Mapping

__all__ = ["OPEN"]

_SIGN_FACTOR = (
    "between the largest rate that sign-midpoint guarantees and the one beyond which sign-cycle excludes every "
    "guarantee lies a factor of about"
    " 2.9 on rotated blocks of 8"
)
_ADAM = (
    "a useful bound from the start alone at the best rate: the second moment of a coordinate with a tiny first "
    "gradient is not known before the"
    " run; adam-from-state is finite from a state after some 25 to 50 steps"
)
_FAST = (
    "memories with beta2 <= .95, or beta1 = .99: the preconditioner changes by more than 2% a step, and no certificate"
    " survives"
)
_LOCAL = (
    "beta1 = 0 at useful rates: tau sometimes exceeds 2, so that a worst case over modes grows; the run "
    "arrives all the same. With H = I_2 in"
    " two blocks and e_0 = (1, lr/2) gap_t/gap_0 stays above (lr^2/4)/(1 + lr^2/4), 2.5e-3 at lr = .1: at rates above some "
    "2 sqrt(tol) a bound must know min |e_0,i| (adam-frozen's C1)"
)

OPEN: Mapping[str, tuple[str, ...]] = {
    "signsgd": (_SIGN_FACTOR,),
    "signum": (
        "anything sharper than the mean age of the gradients: the plateau of signum-gap is 37 times SignSGD's "
        "at momentum .9",
    ),
    "lion": ("anything sharper than the mean age of the gradients in the mix",),
    "adam": (_ADAM, _FAST, _LOCAL),
    "adamw": (_ADAM, _FAST, "weight decay: the step is then no function of the gradient"),
    "amsgrad": (_ADAM,),
    "adam-mini": (_ADAM, _FAST),
    "rmsprop": (_LOCAL,),
    "rmsprop-centered": (_LOCAL,),
    "nadam": ("a bound: its step mixes the gradient and the mean, so that it is not a preconditioner times a mean",),
    "lamb": ("a bound: its step is rescaled by the norm of the iterate",),
}
"""Rule to what is open, in words."""
