"""TRIALS: name of each theorem to the runs on which it is checked.

A sampler returns runs of which most meet the hypotheses of the theorem; `Theorem.applies` decides for each.
"""

from fractions import Fraction

from quadsim.theory.statements.as_run.invariance import INVARIANT
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.coupled_trials import (
    coupled_adam_frozen,
    coupled_at_coupling,
    coupled_runs,
    rational_adam_frozen,
    rational_at_coupling,
    rational_coupled,
    search_coupled,
    search_coupled_adam_frozen,
)
from quadsim.theory.verifying.frozen_ratios import ratio_notes
from quadsim.theory.verifying.instances.heads import of_head
from quadsim.theory.verifying.instances.memories import of_edge, of_memories
from quadsim.theory.verifying.instances.stream import of_end, of_memory, of_moments, of_signs
from quadsim.theory.verifying.instances.toy_models import of_hidden_rows, of_layer_norm, of_output_rows, of_softmax
from quadsim.theory.verifying.tightness import (
    search_adam,
    search_adam_frozen,
    search_adam_frozen_any,
    search_adam_memoryless,
    search_block_gd,
    search_diagonal_signs,
    search_gd,
    search_gd_lambda,
    search_heavy_ball,
    search_lion,
    search_momentum,
    search_sign_lambda,
    search_signsgd,
    search_signum,
)
from quadsim.theory.verifying.trials.adam import (
    OF_STEPS,
    adam_frozen,
    adam_frozen_any,
    adam_slowly,
    even_gradient,
    memoryless_adam,
    orbits,
    preconditioned,
)
from quadsim.theory.verifying.trials.descent import (
    any_rule,
    block_gd,
    gd,
    gd_lambda,
    gd_stepped,
    gradient_steps,
    heavy_ball,
    momentum,
    noisy,
    witness,
)
from quadsim.theory.verifying.trials.rationals import (
    rational,
    rational_adam,
    rational_against_gd,
    rational_cycle,
    rational_diagonal,
    rational_frozen,
    rational_heavy_ball,
    rational_multiples,
    rational_orbit,
    rational_scalars,
    rational_witness,
)
from quadsim.theory.verifying.trials.signs import (
    SCHEDULES,
    diagonal_signs,
    multiples,
    sign_cycles,
    sign_lambda,
    sign_lambda_inf,
    sign_steps,
    signs_as_run,
    signsgd,
    stiff_at_rest,
)
from quadsim.theory.verifying.trials.trial import Trial

__all__ = ["TRIALS", "trial_of"]


_GRADIENT = ("gradient_norm", "Lambda_G")


_SIGN = ("gradient_norm_1",)


TRIALS: dict[str, Trial] = {
    "gd-exact": Trial(gd_stepped, rational=rational("gd")),
    "gd-upper": Trial(gd, rational=rational("gd"), searched=search_gd),
    "gd-lower": Trial(witness, rational=rational_witness),
    "gd-noise": Trial(noisy),
    "block-gd": Trial(block_gd, rational=rational("block-gd", low=0.1, high=1.2), searched=search_block_gd),
    "heavy-ball": Trial(heavy_ball, rational=rational_heavy_ball, searched=search_heavy_ball),
    "adam-frozen-published": Trial(
        adam_frozen, rational=rational_frozen, searched=search_adam_frozen, notes=ratio_notes
    ),
    "adam-frozen": Trial(adam_frozen, rational=rational_frozen, searched=search_adam_frozen),
    "adam-frozen-exact": Trial(adam_frozen_any, rational=rational_frozen, searched=search_adam_frozen_any),
    "adam-vs-gd": Trial(even_gradient, rational=rational_against_gd, searched=search_adam_frozen),
    "adam-cycle": Trial(orbits, rational=rational_orbit),
    "adam-is-sign": Trial(
        memoryless_adam,
        rational=rational("adam", low=0.1, high=2.0, beta1=0, beta2=0, eps=0, observe=OF_STEPS),
    ),
    "gradient-descent-lemma": Trial(
        gradient_steps, rational=rational("gd", observe=["gradient_norm", "Lambda_G"]), searched=search_gd
    ),
    "sign-descent-lemma": Trial(
        sign_steps, rational=rational("signsgd", observe=["gradient_norm_1"]), searched=search_signsgd
    ),
    # The digits of a step of 1/Lambda_G triple from one to the next.
    "gradient-complexity": Trial(
        gd_lambda,
        rational=rational("gd-lambda", steps=5, low=1, high=1, observe=["gradient_norm", "Lambda_G"]),
        searched=search_gd_lambda,
    ),
    "sign-complexity": Trial(
        sign_lambda,
        rational=rational("sign-lambda", low=1, high=1, observe=["gradient_norm_1"]),
        searched=search_sign_lambda,
    ),
    "covariance-identity": Trial(
        any_rule, rational=rational("signsgd", observe=["gradient_norm", "block_gradient_norm", "Lambda_G"])
    ),
    "gradient-rate": Trial(
        gd_lambda,
        rational=rational("gd-lambda", steps=5, observe=["gradient_norm", "Lambda_G"]),
        searched=search_gd_lambda,
    ),
    "gradient-rate-uniform": Trial(gd_lambda, rational=rational("gd-lambda", steps=5), searched=search_gd_lambda),
    "sign-rate": Trial(sign_lambda, rational=rational("sign-lambda"), searched=search_sign_lambda),
    "sign-rate-inf": Trial(sign_lambda_inf, rational=rational("sign-lambda"), searched=search_sign_lambda),
    "sign-constant": Trial(signsgd, rational=rational("signsgd", observe=["gradient_norm_1"]), searched=search_signsgd),
    "block-gd-coupled": Trial(
        coupled_runs(("block-gd",), 0.05, 1.2),
        rational=rational_coupled("block-gd", low=0.1, high=1.0),
        searched=search_coupled("block-gd"),
    ),
    "block-gd-at-coupling": Trial(
        coupled_at_coupling, rational=rational_at_coupling, searched=search_coupled("block-gd-at-coupling")
    ),
    "adam-frozen-coupled": Trial(
        coupled_adam_frozen, rational=rational_adam_frozen, searched=search_coupled_adam_frozen
    ),
    "gradient-descent-lemma-coupled": Trial(
        coupled_runs(("gd", "gd-lambda"), 0.05, 2.0, observe=_GRADIENT),
        rational=rational_coupled("gd", observe=_GRADIENT),
        searched=search_coupled("gd"),
    ),
    "sign-descent-lemma-coupled": Trial(
        coupled_runs(("signsgd", "sign-lambda"), 0.05, 2.0, observe=_SIGN),
        rational=rational_coupled("signsgd", observe=_SIGN),
        searched=search_coupled("signsgd"),
    ),
    "gradient-complexity-coupled": Trial(
        coupled_runs(("gd-lambda",), 0.1, 1.2, observe=_GRADIENT),
        rational=rational_coupled("gd-lambda", steps=5, high=1.0, observe=_GRADIENT),
        searched=search_coupled("gd-lambda"),
    ),
    "sign-complexity-coupled": Trial(
        coupled_runs(("sign-lambda",), 0.1, 1.2, observe=_SIGN),
        rational=rational_coupled("sign-lambda", high=1.0, observe=_SIGN),
        searched=search_coupled("sign-lambda"),
    ),
    "steepest-descent-lemma": Trial(
        coupled_runs(("normalized-gd", "signsgd"), 0.05, 2.0, observe=(*_GRADIENT, *_SIGN)),
        rational=rational_coupled("signsgd", observe=(*_GRADIENT, *_SIGN)),
        searched=search_coupled("signsgd"),
    ),
    "gradient-descent-lemma-general": Trial(
        coupled_runs(("gd", "gd-lambda"), 0.05, 2.0, observe=_GRADIENT),
        rational=rational_coupled("gd", observe=_GRADIENT),
        searched=search_coupled("gd"),
    ),
    "sign-descent-lemma-general": Trial(
        coupled_runs(("signsgd", "sign-lambda"), 0.05, 2.0, observe=_SIGN),
        rational=rational_coupled("signsgd", observe=_SIGN),
        searched=search_coupled("signsgd"),
    ),
    "gradient-complexity-general": Trial(
        coupled_runs(("gd-lambda",), 1.0, 1.0, observe=_GRADIENT, mild=True),
        rational=rational_coupled("gd-lambda", steps=5, low=1.0, high=1.0, coupling=Fraction(1, 16), observe=_GRADIENT),
        searched=search_coupled("gd-lambda", coupling=0.1),
    ),
    "sign-complexity-general": Trial(
        coupled_runs(("sign-lambda",), 1.0, 1.0, observe=_SIGN),
        rational=rational_coupled("sign-lambda", low=1.0, high=1.0, coupling=Fraction(1, 8), observe=_SIGN),
        searched=search_coupled("sign-lambda", coupling=0.1),
    ),
    "sign-constant-gap": Trial(
        signs_as_run("signsgd", schedules=SCHEDULES),
        rational=rational("signsgd", low=0.05, high=2.0),
        searched=search_signsgd,
    ),
    "sign-constant-steps": Trial(
        signs_as_run("signsgd", observe=["block_gap"]),
        rational=rational("signsgd", low=0.02, high=0.1, observe=["block_gap"]),
        searched=search_signsgd,
    ),
    "sign-midpoint": Trial(
        signs_as_run("signsgd", observe=["iterate"]),
        rational=rational("signsgd", low=0.05, high=1.0, observe=["iterate"]),
        searched=search_signsgd,
        without=stiff_at_rest,
    ),
    "signum-gap": Trial(
        signs_as_run("signum"), rational=rational("signum", low=0.05, high=1.0, momentum=0.5), searched=search_signum
    ),
    "lion-gap": Trial(
        signs_as_run("lion"),
        rational=rational("lion", low=0.05, high=1.0, beta1=0.5, beta2=0.75),
        searched=search_lion,
    ),
    "sign-diagonal": Trial(diagonal_signs, rational=rational_diagonal, searched=search_diagonal_signs),
    "sign-distance": Trial(
        signs_as_run("signsgd", schedules=SCHEDULES), rational=rational("signsgd", low=0.05, high=0.3)
    ),
    "sign-cycle": Trial(sign_cycles, rational=rational_cycle),
    "adam-local": Trial(preconditioned(memory=False), rational=rational_adam(0.0), searched=search_adam_memoryless),
    "adam-energy": Trial(preconditioned(), rational=rational_adam(0.5), searched=search_adam),
    "adam-certificate": Trial(preconditioned(memory=True), rational=rational_adam(0.5), searched=search_adam),
    "adam-certificate-gap": Trial(preconditioned(memory=True), searched=search_adam),
    "adam-from-state": Trial(adam_slowly, searched=search_adam),
    "adam-span": Trial(preconditioned(), searched=search_adam),
    "linear-modes": Trial(
        momentum, rational=rational("heavy-ball", low=0.1, high=1.0, momentum=0.25), searched=search_momentum
    ),
    "block-scale-invariance": Trial(multiples(INVARIANT), rational=rational_multiples),
    "adam-diagonal": Trial(multiples(("adam",)), rational=rational_scalars),
    "gd-lower-start": Trial(gd, rational=rational("gd")),
    "head-drift": Trial(instance=of_head),
    "layer-norm-jacobian": Trial(instance=of_layer_norm),
    "softmax-jacobian": Trial(instance=of_softmax),
    "output-row-share": Trial(instance=of_output_rows),
    "hidden-row-ratio": Trial(instance=of_hidden_rows),
    "adam-equal-betas": Trial(instance=of_memories),
    "frozen-momentum-edge": Trial(instance=of_edge),
    "sgd-moments": Trial(instance=of_moments),
    "sgd-stability": Trial(instance=of_end),
    "sgd-floor": Trial(instance=of_end),
    "heavy-ball-moments": Trial(instance=of_memory),
    "heavy-ball-stability": Trial(instance=of_end),
    "heavy-ball-floor": Trial(instance=of_end),
    "sign-one-step": Trial(instance=of_signs),
}
"""Name of each theorem to its trial. gd-noise is about means and has no exact runs; bounds on gaps from products of many factors
(adam-certificate-gap, adam-span) and from enclosures (adam-from-state) have none either."""


def trial_of(theorem: Theorem) -> Trial:
    """Return the trial of a theorem.

    Raises:
        ValueError: a theorem without one.
    """
    if theorem.name not in TRIALS:
        raise ValueError(
            f"a theorem to verify must have a Trial in quadsim.theory.verifying.trials.TRIALS, got {theorem.name} without one; "
            "add the runs on which it is checked, or only prove it: quadsim.theory.prove(step) for its steps."
        )
    return TRIALS[theorem.name]
