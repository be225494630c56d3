"""Claims that are theorems: the lower bound of gradient descent, the bounds of frozen Adam, and the two complexities."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.engines import simulate
from quadsim.simulator.figures.table_figures import lines_figure, points_figure, shares_figure
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.claims.claim import Claim, Condition, Found, Measured, Setting, measured_median, measured_share
from quadsim.theory.statements.quantities import evaluate
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.verifying.false_claims import FALSE_CLAIMS
from quadsim.theory.verifying.frozen_ratios import frozen_ratios, rates_and_ratios
from quadsim.theory.verifying.tightness import search_tightest
from quadsim.theory.verifying.trials import TRIALS
from quadsim.theory.verifying.verification import verify_theorem

__all__ = ["BOUNDS", "TOMIHARI", "ZHANG", "proved", "tried"]

ZHANG = "Zhang et al."
TOMIHARI = "Tomihari and Sato"


def proved(theorem: str) -> tuple[Condition, ...]:
    """Return the conditions for a statement about every problem: it is proved from the rule, and no instance violates it."""
    return (
        Condition(f"steps of the proof of {theorem} left open", "<=", 0, "a proof with a gap is none"),
        Condition(
            f"instances against {theorem}", "<=", 0, "one instance refutes; exact arithmetic decides what floats flag"
        ),
    )


def tried(theorem: str, problems: int, seed: int) -> tuple[Measured, ...]:
    """Count what contradicts a theorem: proof steps that are not proved, and instances in floats and rationals."""
    report = verify_theorem(THEOREMS[theorem], problems=problems, seed=seed, search=0)
    return (
        Measured(f"steps of the proof of {theorem} left open", len(report.steps) - report.proved - report.cited),
        Measured(f"instances against {theorem}", report.verdicts["refuted"] + report.verdicts["undecided"]),
        Measured(f"instances of {theorem}", report.instances),
        Measured(f"instances of {theorem} verified in exact arithmetic", report.verdicts["verified"]),
    )


def _lower_bound(setting: Setting) -> Found:
    problems = setting.pick(tiny=20, quick=500, full=20_000)
    contraction = _contraction_on_witnesses((4.0, 30.0, 300.0))
    best = contraction.groupby("kappa")["worst_over_bound"].min()
    return Found(
        [
            *tried("gd-lower", problems, setting.seed),
            Measured("best contraction of any rate over the bound, least", float(best.min())),
        ],
        {"contraction": contraction},
    )


def _contraction_on_witnesses(kappas: Iterable[float]) -> pd.DataFrame:
    """Return the worst contraction of 50 steps of GD on the witness, by learning rate; at the middle it equals the bound."""
    rates = np.linspace(0.1, 1.6, 31)  # with 1 among them
    rows = []
    for kappa in kappas:
        problem = BlockQuadratic.from_blocks([[[1.0]], [[1 / kappa]]], initial_error=[1 / kappa, 1.0])
        run = simulate(problem, "gd", lr=rates * 2 / (1 + 1 / kappa), steps=50)
        worst = np.nanmin(run.gap[0, :, 1:] / run.gap[0, :, :-1], axis=1)  # inf/inf once a run has diverged
        rho = (kappa - 1) / (kappa + 1)
        rows.append(
            pd.DataFrame({
                "kappa": f"κ = {kappa:g}",
                "lr_over_best": rates,
                "worst_over_bound": worst / rho**2,
                "worst_over_unsquared": worst / rho,
            })
        )
    return pd.concat(rows, ignore_index=True)


def _draw_lower(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["contraction"],
        x="lr_over_best",
        y="worst_over_bound",
        by="kappa",
        xlabel="learning rate over 2/(L+μ)",
        ylabel="least gap ratio of a step over ρ²",
        title="On the witness no rate of GD contracts by less than ρ² = (1 - 2/(κ+1))²",
        log="",
        reference=1.0,
    )


def _unsquared(setting: Setting) -> Found:
    refutation = next(claim for claim in FALSE_CLAIMS if claim.name == "gd-lower without the square").refute()
    contraction = _contraction_on_witnesses((4.0, 30.0, 300.0))
    return Found(
        [
            Measured("counter-examples in exact arithmetic", int(refutation.verdict == "refuted")),
            Measured("least gap ratio over the claimed factor", float(contraction["worst_over_unsquared"].min())),
        ],
        {"contraction": contraction},
        (refutation.counter_example,),
    )


def _draw_unsquared(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["contraction"],
        x="lr_over_best",
        y="worst_over_unsquared",
        by="kappa",
        xlabel="learning rate over 2/(L+μ)",
        ylabel="least gap ratio of a step over ρ",
        title="Near 2/(L+μ) the gap falls below the factor claimed without the square (dotted)",
        log="",
        reference=1.0,
    )


_FROZEN = {
    "published": "adam-frozen-published",
    "sharpened": "adam-frozen",
    "exact": "adam-frozen-exact",
}


def _frozen_adam(setting: Setting) -> Found:
    problems = setting.pick(tiny=20, quick=400, full=10_000)
    evaluations = setting.pick(tiny=200, quick=3000, full=30_000)
    measured: list[Measured] = []
    for name, theorem in _FROZEN.items():
        measured += tried(theorem, problems, setting.seed)
        family = TRIALS[theorem].searched
        if name != "exact" and family is not None:
            search = search_tightest(THEOREMS[theorem], family, evaluations=evaluations, seed=setting.seed)
            measured.append(Measured(f"share of the decrease that the {name} bound guarantees, at best", search.margin))
    ratios = frozen_ratios(trials=setting.pick(tiny=100, quick=1000, full=10_000), seed=setting.seed)
    measured.append(Measured("trials out of order", ratios.trials - ratios.ordered))
    return Found(measured, {"decreases": _decreases(setting)})


def _decreases(setting: Setting) -> pd.DataFrame:
    """Return the decrease that each bound guarantees for a step at lr = min_l C1_l, on random heterogeneous problems."""
    problem = BlockQuadratic.case("heterogeneous", problems=setting.pick(tiny=20, quick=60, full=60), seed=setting.seed)
    rates = rates_and_ratios(problem)[0]
    run = simulate(problem, "adam-frozen", lr=rates, steps=1)
    found = {name: np.diagonal(evaluate(THEOREMS[theorem].decrease, run)) for name, theorem in _FROZEN.items()}
    return pd.concat(
        [
            pd.DataFrame({"exact": found["exact"], "guaranteed": found[name], "bound": name})
            for name in ("sharpened", "published")
        ],
        ignore_index=True,
    )


def _draw_frozen(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return points_figure(
        tables["decreases"],
        x="exact",
        y="guaranteed",
        by="bound",
        xlabel="exact decrease a step, 1 - max (1 - η σ)²",
        ylabel="decrease that the bound guarantees",
        title="Frozen Adam, heterogeneous case: both bounds hold, the published one is far from sharp",
        diagonal=True,
    )


def _ratio_probability(setting: Setting) -> Found:
    found = frozen_ratios(trials=setting.pick(tiny=200, quick=4000, full=40_000), seed=setting.seed)
    return Found(
        [
            measured_share("P(r_pub <= 1000)", found.ratios**2 <= 1000),
            measured_share("P(r <= 1000)", found.ratios <= 1000),
            measured_median("median r_pub", found.ratios**2),
            measured_median("median r", found.ratios),
        ],
        {"ratios": pd.DataFrame({"r": found.ratios, "r_pub": found.ratios**2})},
        ("r_pub is the published ratio; r is its root, with which the sharpened bound is stated.",),
    )


def _draw_ratios(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return shares_figure(
        {"r (sharpened)": tables["ratios"]["r"], "r² = r_pub (published)": tables["ratios"]["r_pub"]},
        xlabel="ratio",
        ylabel="share of draws with at most this ratio",
        title="At least 2/3 of the draws are claimed to have r_pub ≤ 1000",
        at=(1000.0, 2 / 3),
    )


def _complexities(setting: Setting) -> Found:
    problems = setting.pick(tiny=20, quick=400, full=10_000)
    measured = [m for name in ("gradient-complexity", "sign-complexity") for m in tried(name, problems, setting.seed)]
    arrivals = _arrivals(setting)
    decided = arrivals[arrivals["predicted"] != "neither"]
    measured.append(
        measured_share("share in which the smaller bound arrives first", decided["predicted"] == decided["first"])
    )
    return Found(measured, {"arrivals": arrivals})


def _arrivals(setting: Setting) -> pd.DataFrame:
    """Return the steps of both methods at their theoretical rates until |g|_1 <= P delta, and the steps by their bounds."""
    number, steps = setting.pick(tiny=4, quick=40, full=400), setting.pick(tiny=300, quick=5000, full=5000)
    rows = []
    for alignment in (-1.0, -0.5, 0.0, 0.5, 1.0):
        problem = BlockQuadratic.generate(
            heterogeneity=100, gradient_heterogeneity=10, alignment=alignment, problems=number, seed=setting.seed
        )
        weighted = (problem.block_smoothness * np.array(problem.block_sizes)).sum(axis=1) / problem.dimension
        row: dict[str, np.ndarray] = {}
        for rule in ("gd-lambda", "sign-lambda"):
            run = simulate(problem, rule, lr=1.0, steps=steps, observe=["gradient_norm_1", "Lambda_G"])
            norms = run.observed["gradient_norm_1"][:, 0]
            target = norms[:, :1] / 100
            reached = norms <= target
            arrived = reached.any(axis=1)
            first = np.where(arrived, reached.argmax(axis=1), np.inf)
            row[f"steps_{rule}"] = first
            if rule == "gd-lambda":
                smoothness = run.observed["Lambda_G"][:, 0]
                until = np.arange(norms.shape[1]) < np.minimum(first, steps)[:, None]
                weight = np.where(until, smoothness, -np.inf).max(axis=1)
            else:
                weight = weighted
            row[f"bound_{rule}"] = 2 * problem.initial_gap * weight * problem.dimension / target[:, 0] ** 2
        rows.append(pd.DataFrame(row).assign(alignment=alignment))
    frame = pd.concat(rows, ignore_index=True)

    def smaller(kind: str) -> np.ndarray:
        gradient, sign = frame[f"{kind}_gd-lambda"], frame[f"{kind}_sign-lambda"]
        return np.select([gradient < sign, sign < gradient], ["gradient", "sign"], "neither")

    return frame.assign(predicted=smaller("bound"), first=smaller("steps"))


def _draw_arrivals(tables: Mapping[str, pd.DataFrame]) -> Figure:
    frame = tables["arrivals"]
    shown = pd.DataFrame({
        "bounds": frame["bound_gd-lambda"] / frame["bound_sign-lambda"],
        "steps": frame["steps_gd-lambda"] / frame["steps_sign-lambda"],
        "alignment": frame["alignment"].map("alignment {:g}".format),
    })
    return points_figure(
        shown.replace(np.inf, np.nan).dropna(),
        x="bounds",
        y="steps",
        by="alignment",
        xlabel="bound of gradient steps over that of sign steps",
        ylabel="steps of the one over the other",
        title="Steps until |g|₁ ≤ a hundredth of the start, rates 1/Λ_G and |g|₁/(P Λ_P)",
        reference=(1.0, 1.0),
    )


BOUNDS = (
    Claim(
        id="gd-lower",
        claim="There are block-diagonal quadratics on which no constant rate lets gradient descent contract the gap by less than "
        "(1 - 2/(kappa+1))^2 in any step.",
        group=ZHANG,
        source="arXiv 2402.16788, Proposition 1, in the squared form derived here",
        anywhere=True,
        conditions=(
            *proved("gd-lower"),
            Condition(
                "best contraction of any rate over the bound, least",
                ">=",
                1 - 1e-12,
                "the bound is attained at 2/(L+mu); a gap of two terms is known to some units of rounding, 1e-15, at kappa 300",
            ),
        ),
        method="The theorem gd-lower is held against random witnesses at random rates, and against witnesses in rationals.",
        experiment=_lower_bound,
        draw=_draw_lower,
        caption="Least ratio of the gaps of two successive steps over the bound, 50 steps of GD on the witness.",
    ),
    Claim(
        id="gd-lower-unsquared",
        claim="On that quadratic gradient descent contracts the gap by no less than 1 - 2/(kappa+1) in any step, for every rate.",
        group=ZHANG,
        source="arXiv 2402.16788, Proposition 1, as it circulates without the square",
        anywhere=True,
        conditions=(
            Condition("counter-examples in exact arithmetic", "<=", 0, "one refutes a universal statement"),
            Condition("least gap ratio over the claimed factor", ">=", 1, "the claim itself"),
        ),
        method="The witness H = diag(3, 1), e_0 = (1, 3), lr = 1/2 in exact arithmetic, and a scan over rates.",
        experiment=_unsquared,
        draw=_draw_unsquared,
        caption="Least ratio of the gaps of two successive steps over the factor without the square.",
    ),
    Claim(
        id="adam-bound",
        claim="Adam with a frozen denominator at the rate min_l C1_l contracts the gap by max_l (1 - 1/(r kappa_l)) a step, a "
        "rate of the blocks' condition numbers; sharper forms hold too.",
        group=ZHANG,
        source="arXiv 2402.16788, Theorem 1; sharpened and exact forms derived here",
        anywhere=True,
        conditions=(
            *(condition for theorem in _FROZEN.values() for condition in proved(theorem)),
            Condition(
                "trials out of order", "<=", 0, "exact <= sharpened <= published is an inequality, not a tendency"
            ),
        ),
        method="The three theorems are held against random problems; their factors are ordered on the heterogeneous case; a "
        "search looks for the instance that comes closest to each bound.",
        experiment=_frozen_adam,
        draw=_draw_frozen,
        caption="Guaranteed decrease of a step against the exact one, a point per draw of the heterogeneous case.",
    ),
    Claim(
        id="adam-r-probability",
        claim="On the heterogeneous example the ratio r of Adam's bound is at most 1000 in at least 2/3 of the draws.",
        group=ZHANG,
        source="arXiv 2402.16788, after Theorem 1 (1000 trials)",
        anywhere=True,
        unjudged="no refutation: the share depends on the law of the start and the block size, which the paper leaves open",
        unjudged_as="estimate",
        conditions=(Condition("P(r_pub <= 1000)", ">=", 2 / 3, "the published share"),),
        method="Haar draws of the heterogeneous case with the start of theory section 1; r_pub = (max_l C2_l / min_l C1_l)^2.",
        experiment=_ratio_probability,
        draw=_draw_ratios,
        caption="Distribution of the published ratio and of its root over the draws.",
    ),
    Claim(
        id="complexities",
        claim="Gradient steps need at most 2 gap_0 max Lambda_G/(P delta^2) steps and sign steps 2 gap_0 Lambda_P/(P delta^2); "
        "so the method with the smaller weighted smoothness is the faster one.",
        group=TOMIHARI,
        source="arXiv 2502.00213, the two complexity theorems, in the form derived here for quadratics",
        anywhere=True,
        conditions=(
            *proved("gradient-complexity"),
            *proved("sign-complexity"),
            Condition(
                "share in which the smaller bound arrives first",
                ">=",
                0.5,
                "a bound that says nothing of speed is right half the time",
            ),
        ),
        method="Both theorems on random problems for all delta at once; then both methods at the rates of the theorems on "
        "problems with heterogeneity 100, gradient heterogeneity 10 and five alignments, until |g|_1 is 1% of the first.",
        experiment=_complexities,
        draw=_draw_arrivals,
        caption="Quotient of the steps of the two methods against the quotient of their bounds, a point per problem.",
    ),
)
