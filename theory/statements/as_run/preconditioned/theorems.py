"""ADAM_AS_RUN: the theorems about rules with a running preconditioner, RMSProp and Adam among them (docs/theory.md section 9).

The bounds read the preconditioner along the run, with the error and the mean gradient at one step; they read no gap of a later
step.
"""

from collections.abc import Mapping

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.preconditioner import why_no_form
from quadsim.theory.running.run_values import memory_of
from quadsim.theory.statements.as_run.preconditioned.certificate import certificate, certificate_gap
from quadsim.theory.statements.as_run.preconditioned.energy import energy, local
from quadsim.theory.statements.as_run.preconditioned.frame import PRECONDITIONED, tau
from quadsim.theory.statements.as_run.preconditioned.from_state import from_state
from quadsim.theory.statements.as_run.preconditioned.modes import modes, span
from quadsim.theory.statements.as_run.records import NO_DECAY, as_run
from quadsim.theory.statements.as_run.rounding import of_modes
from quadsim.theory.statements.theorem import Hypothesis
from quadsim.theory.symbols import MaxOver, SumOver, Symbol

__all__ = ["ADAM_AS_RUN"]


def _is_form(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(why_no_form(trajectory) == "")


_FORM = Hypothesis(
    "the step is a diagonal preconditioner times a mean of gradients: no weight decay",
    _is_form,
    seen=NO_DECAY.seen,
    exactly=NO_DECAY.exactly,
)


def _memory(settings: Mapping[str, float]) -> float:
    """Return the memory of the mean gradient from the settings of a rule of PRECONDITIONED; 0 without one."""
    return settings.get("beta1", settings.get("momentum", 0.0))


_NO_MEMORY = Hypothesis(
    "no memory of gradients (beta1 = 0)",
    lambda run: (memory_of(run) == 0.0)[None],
    seen=lambda run: {"for the memory": memory_of(run)[None]},
    exactly=lambda problem, settings: _memory(settings) == 0.0,
)
_MEMORY = Hypothesis(
    "a memory of gradients (beta1 > 0)",
    lambda run: (memory_of(run) > 0.0)[None],
    seen=lambda run: {"for the memory": memory_of(run)[None]},
    exactly=lambda problem, settings: _memory(settings) > 0.0,
)
_RUN = "The bound reads the run's preconditioner, and no gap of a later step."
_theta = 1 - 2 * tau + tau**2 / Symbol.eps1

ADAM_AS_RUN = (
    as_run(
        "adam-local",
        PRECONDITIONED,
        MaxOver(sp.Max((1 - Symbol.tau_low_l) ** 2, (1 - Symbol.tau_high_l) ** 2)),
        local,
        sp.Max((Symbol.tau_low_l - 1) ** 2, (Symbol.tau_high_l - 1) ** 2),
        any_schedule=True,
        hypotheses=(_FORM, _NO_MEMORY),
        tight="where the error lies in the eigenspace of an extreme tau, as for blocks of one",
        kind="per step",
        quantity=None,
        source=f"Derived here, after Zhang et al., arXiv 2402.16788, for the running preconditioner. {_RUN}",
    ),
    as_run(
        "adam-energy",
        PRECONDITIONED,
        MaxOver(sp.Max(*(_theta.subs(tau, end) for end in (Symbol.tau_low_l, Symbol.tau_high_l)))),
        energy,
        sp.Max(
            *(
                ((1 - end) ** 2 + end**2 * (1 / Symbol.eps1 - 1)).expand()
                for end in (Symbol.tau_low_l, Symbol.tau_high_l)
            )
        ),
        any_schedule=True,
        hypotheses=(_FORM,),
        quantity=MaxOver(Symbol.energy_ratio_l),
        tight="for some states of every mode; below 1 only if every tau < 2 epsilon1, the largest range of a form without B",
        source=f"Derived here. Each block's ratio is at most its own bound; twice its gap is at most E. {_RUN}",
    ),
    as_run(
        "adam-certificate",
        PRECONDITIONED,
        sp.S.One,
        certificate,
        any_schedule=True,
        hypotheses=(_FORM, _MEMORY),
        quantity=MaxOver(Symbol.certified_ratio_l),
        tight="for some states, to 2e-12; with a frozen B there is a form that is multiplied by exactly beta",
        source=(
            "Derived here. R and N are written out in docs/theory.md section 9. Where R is not positive definite there is no"
            f" statement. {_RUN}"
        ),
    ),
    as_run(
        "adam-certificate-gap",
        PRECONDITIONED,
        SumOver(Symbol.certified_l),
        certificate_gap,
        any_schedule=True,
        hypotheses=(_FORM, _MEMORY),
        tight="1.2 to 1.3 times the steps of Adam at its best rate, from the state at step 12",
        source=f"Derived here from adam-certificate; checked from t_0 = 1. {_RUN}",
    ),
    as_run(
        "adam-from-state",
        ("adam",),
        SumOver(Symbol.from_state_l),
        from_state,
        hypotheses=(_FORM, _MEMORY, Hypothesis.of(sp.Gt(Symbol.beta2, 0), "beta2 > 0")),
        tight="1.2 times the steps of Adam at its best rate, from the state at step 50, on three of four problems",
        source=(
            "Derived here. lo, hi, rho and omega are written out in docs/theory.md section 9; only numbers of "
            "single blocks enter. A theta is"
            " certified on an interval by Bernstein coefficients. It reads nothing of the run after t_0."
        ),
    ),
    as_run(
        "adam-span",
        PRECONDITIONED,
        SumOver(Symbol.span_l),
        span,
        any_schedule=True,
        hypotheses=(_FORM,),
        tight="for the worst start of every block, under the same preconditioners",
        source=f"Derived here: the sharpest bound that reads no state after the start. {_RUN}",
    ),
    as_run(
        "linear-modes",
        ("heavy-ball", "nesterov"),
        MaxOver(Symbol.mode_i**2),
        modes,
        Symbol.mode_i**2,
        quantity=Symbol.gap / Symbol.gap_0,
        rounding=of_modes,
        tight="for an error on the eigenvector of the largest |p_t|, for any rate and momentum",
        source=(
            "Classical, in the form derived here. Adam with a frozen preconditioner and momentum is heavy-ball "
            "in the coordinates"
            " D^(1/2) e, with tau = eta sigma = lr lambda/(1-beta): stable iff tau < 2(1+beta1)/(1-beta1), 38 at .9."
        ),
    ),
)
