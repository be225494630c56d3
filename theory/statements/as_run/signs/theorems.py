"""SIGN_AS_RUN: the theorems about sign steps at a rate that is given, constant or by a schedule (docs/theory.md section 8).

SignSGD acts on every block alone, and so do these bounds: no constant of theirs knows another block.
"""

import sympy as sp

from quadsim.theory.statements.as_run.records import NO_DECAY, as_run
from quadsim.theory.statements.as_run.rounding import of_steps
from quadsim.theory.statements.as_run.signs.hypotheses import ENUMERATED, IS_DIAGONAL, NEVER_ZERO, ON_CYCLE
from quadsim.theory.statements.as_run.signs.memory import with_memory
from quadsim.theory.statements.as_run.signs.midpoint import midpoint
from quadsim.theory.statements.as_run.signs.positions import cycle, diagonal, distance
from quadsim.theory.statements.as_run.signs.recursion import gap, steps
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["SIGN_AS_RUN"]

eta, S_l, nu_l = Symbol.eta, Symbol.S_l, Symbol.nu_l

_POLE = eta * S_l / (2 * sp.sqrt(2 * nu_l))
"""x* of sign-constant-steps, below which the bound does not follow a block."""


def _log_steps() -> sp.Expr:
    """Return the steps of a block until sqrt(gap) is at most x_T, 1 included; see sign-constant-steps."""
    first, target = sp.sqrt(Symbol.gap_0_l), Symbol.target_l
    speed = eta * sp.sqrt(nu_l / 2)
    return 1 + (first - target + _POLE * sp.log((first - _POLE) / (target - _POLE))) / speed


_HERE = "Derived here, from the descent lemma of Bernstein et al., arXiv 1802.04434, block by block"

SIGN_AS_RUN = (
    as_run(
        "sign-constant-gap",
        ("signsgd",),
        SumOver(Symbol.u_l),
        gap,
        any_schedule=True,
        rounding=of_steps,
        tight="at the first step, for a block of one coordinate; the plateau is eta^2 max(S^2/(8 nu), S/2) in every block",
        source=f"{_HERE}; for every rate eta_t > 0, by any schedule. Each block's gap is at most its own u.",
    ),
    as_run(
        "sign-constant-steps",
        ("signsgd",),
        MinOver(_log_steps()),
        steps,
        1
        + (
            (sp.sqrt(Symbol.gap_0_l) - Symbol.target_l)
            + eta
            * S_l
            / sp.sqrt(8 * nu_l)
            * sp.log(
                (sp.sqrt(Symbol.gap_0_l) - eta * S_l / sp.sqrt(8 * nu_l))
                / (Symbol.target_l - eta * S_l / sp.sqrt(8 * nu_l))
            )
        )
        / (eta * sp.sqrt(nu_l) / sp.sqrt(2)),
        (sp.Gt(sp.sqrt(Symbol.gap_0_l), _POLE), sp.Gt(Symbol.target_l, _POLE)),
        kind="complexity",
        quantity=None,
        tight="not attained; 2.6 times the steps of a run at the rate that minimises it",
        source=(
            f"{_HERE}. From that step on the block stays below x_T^2. Checked for all x_T at once: for every "
            "x_T^2 < min_(s<t) gap_l,s no step before t is within x_T, so that t is at most the bound; and the bound is"
            " continuous in x_T."
        ),
    ),
    as_run(
        "sign-midpoint",
        ("signsgd",),
        SumOver(Symbol.w_l + eta**2 * S_l / 8),
        midpoint,
        Symbol.w_l + eta**2 / 8 * S_l,
        quantity=Symbol.smaller_gap,
        hypotheses=(NEVER_ZERO,),
        rounding=of_steps,
        tight="on diagonal blocks its plateau is eta^2 tr(H)/4, the worst case of two neighbouring steps",
        source=f"{_HERE}. M_l is .3 to .5 of S_l on rotated blocks; for blocks of more than 8 it is sqrt(nu kappa S) + S/4.",
    ),
    as_run(
        "signum-gap",
        ("signum",),
        SumOver(Symbol.v_l),
        lambda: with_memory("signum"),
        rounding=of_steps,
        tight="not attained: the mean age of the gradients is the whole loss",
        source=f"{_HERE}, with the mean age beta/(1-beta) of the gradients in the memory.",
    ),
    as_run(
        "lion-gap",
        ("lion",),
        SumOver(Symbol.v_l),
        lambda: with_memory("lion"),
        hypotheses=(NO_DECAY,),
        rounding=of_steps,
        tight="not attained",
        source=f"{_HERE}, with the mean age beta1/(1-beta2) of the gradients in the mix.",
    ),
    as_run(
        "sign-diagonal",
        ("signsgd",),
        SumOver(Symbol.curvature_i * sp.Max(Symbol.start_i - Symbol.travelled, eta) ** 2) / 2,
        diagonal,
        SumOver(Symbol.curvature_i * sp.Max(eta, Symbol.start_i - Symbol.travelled) ** 2) / 2,
        hypotheses=(IS_DIAGONAL,),
        rounding=of_steps,
        tight="where |e_0,i|/eta is an integer less than t plus 1, up to the last step of every coordinate",
        source="Derived here. 1.003 times the measured steps at the rate that minimises it.",
    ),
    as_run(
        "sign-distance",
        ("signsgd", "signum", "lion"),
        MaxOver(sp.Max(Symbol.start_i - Symbol.travelled, 0) ** 2 / (2 * Symbol.inverse_i)),
        distance,
        sp.Max(0, Symbol.start_i - Symbol.travelled) ** 2 / Symbol.inverse_i / 2,
        any_schedule=True,
        hypotheses=(NO_DECAY,),
        direction="lower",
        rounding=of_steps,
        tight="for one coordinate, on the way to the solution; .997 of SignSGD's steps at its best rate",
        source=(
            "Derived here: no coordinate moves faster than the rate. So"
            " T >= max_i (|e_0,i| - sqrt(2 (H^-1)_ii tol gap_0))/eta."
        ),
    ),
    as_run(
        "sign-cycle",
        ("signsgd",),
        eta**2 * Symbol.L_inf / 8,
        cycle,
        (eta / 2) ** 2 / 2 * Symbol.L_inf,
        hypotheses=(ENUMERATED, ON_CYCLE),
        direction="lower",
        tight="from step k on",
        source=(
            "Derived here. So no theorem on all starts with a gap of at most G can guarantee that SignSGD comes within tol G at "
            "a rate above sqrt(8 tol G/L_inf), up to sqrt(8 G/L_inf)."
        ),
    ),
)
