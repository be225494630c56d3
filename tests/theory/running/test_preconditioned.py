"""Bounds along a run of preconditioned rules: the preconditioner, energies, certificates, exact certification, false neighbours."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
from flint import arb, fmpq_mat

from quadsim.simulator import RULES, BlockQuadratic, Schedule, simulate
from quadsim.theory import THEOREMS, check
from quadsim.theory.checking.exact import eigenvalues_of, rational
from quadsim.theory.running import energy, preconditioner, run_values
from quadsim.theory.running.certificates import (
    Certificate,
    bernstein,
    certificates_for,
    certified,
    factor_at,
    factor_near,
    factor_on,
    floor_on,
    pieces_of,
)
from quadsim.theory.running.from_state import from_state_gaps
from quadsim.theory.running.modes import mode_factors
from quadsim.theory.running.preconditioner import preconditioned_form, rehearse, replay, why_no_form
from quadsim.theory.symbols import MaxOver, Symbol


@pytest.fixture(scope="module")
def problem():
    return BlockQuadratic.generate(2, 3, condition_number=5, heterogeneity=10, problems=4, seed=2)


@pytest.fixture(scope="module")
def adam(problem):
    return simulate(problem, "adam", lr=0.1, steps=120, observe=["iterate"])


def test_rules_of_the_form_are_known_by_their_expressions():
    have = {name for name, rule in RULES.items() if preconditioned_form(rule) is not None}
    assert have == {
        "gd", "sgd", "heavy-ball", "sgdw", "adam", "adamw", "adam-mini", "amsgrad", "rmsprop", "rmsprop-centered", "adagrad", "adam-frozen",
    }  # fmt: skip


def test_the_preconditioner_is_that_of_an_adam_written_by_hand(problem, adam):
    seen = replay(adam)
    m = v = np.zeros((4, 6))
    for t in range(1, 40):
        g = seen.gradient[:, 0, t - 1]
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        wanted = 0.1 / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(seen.preconditioner[:, 0, t], wanted, rtol=1e-12)
        np.testing.assert_allclose(seen.mean[:, 0, t], m, rtol=1e-12)
    matrix, _ = problem.dense(1)
    root = np.diag(np.sqrt(seen.preconditioner[1, 0, 7, :3]))
    values = np.linalg.eigvalsh(root @ matrix[:3, :3] @ root)
    assert seen.smallest_tau[1, 0, 7, 0] == pytest.approx(values[0])
    assert seen.largest_tau[1, 0, 7, 0] == pytest.approx(values[-1])
    change = seen.preconditioner[1, 0, 7, :3] / seen.preconditioner[1, 0, 6, :3]
    assert seen.rise[1, 0, 7, 0] == pytest.approx(change.max())
    assert seen.fall[1, 0, 7, 0] == pytest.approx(1 / change.min())


@pytest.mark.parametrize(
    ("rule", "options"),
    [("adam", {}), ("adam-mini", {}), ("amsgrad", {"eps": 0.0}), ("rmsprop", {}), ("adagrad", {}), ("heavy-ball", {}), ("adamw", {"weight_decay": 0.0})],
)  # fmt: skip
def test_every_step_is_minus_the_preconditioner_times_the_mean(problem, rule, options):
    run = simulate(problem, rule, lr=0.02, steps=40, observe=["iterate"], schedule="cosine:warmup=4", **options)
    seen = replay(run)
    moved = np.diff(seen.error, axis=2)
    size = np.abs(seen.error).max(axis=2, keepdims=True)
    assert (np.abs(moved + seen.preconditioner[:, :, 1:] * seen.mean[:, :, 1:]) <= 1e-13 * size).all()
    again = rehearse(problem, RULES[rule], run.settings, 40, run.schedule)
    np.testing.assert_allclose(again.error, seen.error, rtol=1e-6, atol=1e-9)


def test_what_has_no_preconditioner_says_so(problem):
    decayed = simulate(problem, "adamw", lr=0.1, steps=3, observe=["iterate"])
    assert "weight decay must be 0" in why_no_form(decayed)
    with pytest.raises(ValueError, match="not a preconditioner times a mean"):
        replay(simulate(problem, "signsgd", lr=0.1, steps=3, observe=["iterate"]))
    with pytest.raises(ValueError, match="iterate at every step"):
        replay(simulate(problem, "adam", lr=0.1, steps=3))


# Certificates -------------------------------------------------------------------------------------------------------------------


def random_state(draw, size=4):
    """A block, an error, a mean gradient, the old preconditioner and the new one."""
    q, _ = np.linalg.qr(draw.standard_normal((size, size)))
    matrix = (q * 10.0 ** draw.uniform(-1, 0, size)) @ q.T
    old = 10.0 ** draw.uniform(-1, 1, size)
    return (
        matrix,
        draw.standard_normal(size),
        draw.standard_normal(size),
        old,
        old * 10.0 ** draw.uniform(-0.05, 0.05, size),
    )


def energy_of(matrix, e, m, b, beta, certificate):
    s, xi, a, weight = certificate
    eps1, g = (1 - beta) / (1 + beta), matrix @ e
    z, inverse = eps1 * g + (1 - eps1) * m, np.linalg.inv(matrix)
    return (
        (1 - s) * e @ g + s * (g - m) @ inverse @ (g - m) - xi * m @ inverse @ m
        + a / (2 * eps1) * z @ (b * z) - weight * g @ (b * g)
    )  # fmt: skip


@pytest.mark.parametrize("beta", [0.9, 0.5])
def test_a_step_of_any_preconditioner_multiplies_the_energy_by_theta_at_most(beta):
    """Written out with dense matrices, from random states; at the worst state theta is attained."""
    draw, used, closest = np.random.default_rng(0), 0, 0.0
    every = certificates_for(beta)
    for _ in range(100):
        matrix, e, m, old, new = random_state(draw)
        new, old = 0.3 * new, 0.3 * old
        taus = np.linalg.eigvalsh(np.sqrt(new)[:, None] * matrix * np.sqrt(new))
        rho, omega = (new / old).max(), (old / new).max()
        mean = beta * m + (1 - beta) * matrix @ e
        after = e - new * mean
        for c in zip(*every, strict=True):
            theta = factor_at(taus, beta, Certificate(*c), rho, omega).max()
            if not np.isfinite(theta):
                continue
            used += 1
            before, following = energy_of(matrix, e, m, old, beta, c), energy_of(matrix, after, mean, new, beta, c)
            assert following <= theta * before * (1 + 1e-9) + 1e-12
            closest = max(closest, following / (theta * before))
            floor = floor_on(taus[0], taus[-1], beta, Certificate(*c))
            if floor > 0:
                assert following >= floor * after @ matrix @ after * (1 - 1e-9) - 1e-12
    assert used > 100
    assert closest > 0.8


def test_the_forms_are_those_that_are_proved():
    """The polynomials that runs use are the ones in the proof: a changed coefficient is not proved any more."""
    from quadsim.theory import prove
    from quadsim.theory.statements.as_run.preconditioned import certificate

    def proved():
        steps = [step for step in certificate.certificate() if "N(tau) in (u, d)" in step.because]
        return [prove(step).status for step in steps]

    assert proved() == ["proved"]
    honest = certificate.coefficients

    def wrong(*arguments):
        old, new = honest(*arguments)
        return old, [(new[0][0], new[0][1] * 2, *new[0][2:]), *new[1:]]

    certificate.coefficients = wrong
    try:
        assert proved() == ["refuted"]
    finally:
        certificate.coefficients = honest


def test_bernstein_coefficients_enclose_a_polynomial_exactly():
    p, low, high = [Fraction(1), Fraction(-3), Fraction(1, 2), Fraction(2)], Fraction(1, 3), Fraction(3, 2)
    found = bernstein(p, low, high)
    values = [sum(c * (low + (high - low) * Fraction(i, 50)) ** k for k, c in enumerate(p)) for i in range(51)]
    assert min(found) <= min(values) <= max(values) <= max(found)
    assert (found[0], found[-1]) == (values[0], values[-1])
    assert all(isinstance(x, Fraction) for x in found)


def exact(numbers):
    return Certificate(*(Fraction(float(x)) for x in numbers))


@pytest.mark.parametrize("beta", [0.9])
def test_a_factor_on_an_interval_is_certified_in_rationals_and_a_smaller_one_is_not(beta):
    """The search in floats is a guess; exact arithmetic confirms every factor that it gives out."""
    every, confirmed = certificates_for(beta), 0
    for low, high in ((0.1, 0.3), (0.5, 4.0), (2.0, 9.0)):
        for c in list(zip(*every, strict=True))[::2]:
            theta = float(
                factor_on(
                    np.float64(low),
                    np.float64(high),
                    beta,
                    Certificate(*map(np.float64, c)),
                    np.float64(1.01),
                    np.float64(1.01),
                )
            )
            if not np.isfinite(theta):
                continue
            ends = [Fraction(float(x)) for x in pieces_of(low, high)]
            told = Fraction(theta), Fraction(beta), exact(c), Fraction(1.01), Fraction(1.01), ends
            assert certified(*told)
            worst = factor_at(np.array([float(x) for x in ends]), beta, Certificate(*c), 1.01, 1.01).max()
            assert not certified(Fraction(worst) * Fraction(99, 100), *told[1:])
            confirmed += 1
    assert confirmed > 5


def test_where_r_is_not_positive_there_is_no_factor():
    """A certificate that has lost its positivity is over: the answer is infinite, not a large number."""
    c = Certificate(0.5, 0.6, 0.0, 0.0)  # xi above 1 - s: V is negative for some states
    assert np.isinf(factor_at(np.array([0.5, 2.0]), 0.9, c, 1.0, 1.0)).all()
    assert not certified(
        Fraction(10**6), Fraction(9, 10), exact(c), Fraction(1), Fraction(1), [Fraction(1, 2), Fraction(2)]
    )


def test_an_energy_that_is_not_positive_gives_no_statement(adam):
    """V < 0 times a product of factors would be a bound below 0."""
    seen = replay(adam)
    negative = Certificate(*(np.array([x]) for x in (0.5, 5.0, 0.0, 0.0)))
    value, _ = energy.certificate_energies(seen, negative)
    assert (value[:, 12] < 0).any()
    assert np.isinf(energy.certificate_gaps(seen, 0, 12, negative)).all()


def test_a_bound_that_is_over_does_not_come_back(monkeypatch, adam):
    seen = replay(adam)
    honest = energy.certificate_gaps(seen, 0, 12)
    assert np.isfinite(honest[:, 40:]).all(axis=(1, 2)).any()

    def lost(*arguments):
        out = certificate_factors(*arguments)
        out[:, 30] = np.inf
        return out

    certificate_factors = energy.certificate_factors
    monkeypatch.setattr(energy, "certificate_factors", lost)
    after = energy.certificate_gaps(seen, 0, 12)
    np.testing.assert_array_equal(after[:, 12:30], honest[:, 12:30])
    assert np.isinf(after[:, 30:]).all()


# Along runs ---------------------------------------------------------------------------------------------------------------------


def test_bounds_along_a_run_lie_above_its_gaps(adam):
    seen = replay(adam)
    gaps = seen.forms(seen.error, seen.gradient)[:, 0] / 2
    for bound in (energy.certificate_gaps(seen, 0, 12), energy.certificate_gaps(seen, 0, 1), energy.span_gaps(seen)):
        assert (gaps <= bound * (1 + 1e-9)).all()
        assert np.isfinite(bound[:, 60:].sum(axis=-1)).any()
    assert np.isfinite(energy.span_gaps(seen)).all()


def test_the_span_is_the_norm_of_the_product_of_the_steps(problem, adam):
    seen = replay(adam)
    h = problem.dense(0)[0][:3, :3]
    values, vectors = np.linalg.eigh(h)
    root = (vectors * np.sqrt(values)) @ vectors.T
    y = d = np.eye(3)
    for t in range(1, 21):
        k = root @ np.diag(seen.preconditioner[0, 0, t, :3]) @ root
        u = y - 0.9 * d
        y, d = y - k @ u, 0.9 * d - k @ u
    e = seen.error[0, 0, 0, :3]
    wanted = np.linalg.norm(y, 2) ** 2 * (e @ h @ e) / 2
    assert energy.span_gaps(seen)[0, 20, 0] == pytest.approx(wanted, rel=1e-6)


def test_rounding_on_the_way_is_counted():
    """Where a product shrinks a start but magnifies, on the way, what rounding puts in, the allowance is large."""
    calm = BlockQuadratic.generate(1, 3, condition_number=5, problems=4, seed=0)
    quiet = rehearse(calm, RULES["adam"], RULES["adam"].settings(0.1), 100, Schedule())
    wild = rehearse(calm, RULES["adam"], RULES["adam"].settings(0.02, beta1=0.0), 1500, Schedule())
    small = energy.span_rounding(quiet, np.full(4, 100))
    assert (small < 1e-9).all()
    assert (energy.span_rounding(wild, np.full(4, 1500)) > 1e3 * small).any()


def test_a_bound_from_a_state_reads_nothing_after_it(problem):
    problem = problem.select([0, 1])
    seen = rehearse(problem, RULES["adam"], RULES["adam"].settings(0.05), 110, Schedule())
    second = np.zeros((2, 6))
    for t in range(40):
        second = 0.999 * second + 0.001 * seen.gradient[:, 0, t] ** 2
    state = (seen.error[:, 0, 40], seen.mean[:, 0, 40], second)
    found = from_state_gaps(problem, state, 40, 110, lr=0.05, beta1=0.9, beta2=0.999, eps=1e-8)
    gaps = seen.forms(seen.error, seen.gradient)[:, 0, 40:] / 2
    assert (gaps <= found * (1 + 1e-8)).all()
    assert (found[:, -1].sum(axis=-1) < 1e-3 * problem.initial_gap).any()


@pytest.mark.parametrize("rule", ["heavy-ball", "nesterov"])
def test_the_polynomials_of_the_modes_are_those_of_the_run(rule):
    modes = BlockQuadratic.from_blocks([[[1.0]], [[0.1]]], initial_error=[1.0, 1.0])
    run = simulate(modes, rule, lr=0.3, momentum=0.8, steps=50, observe=["iterate"], engine="reference")
    found = mode_factors(RULES[rule], {"lr": 0.3, "momentum": 0.8}, np.array([1.0, 0.1]), 50)
    np.testing.assert_allclose(found.T, run.observed["iterate"][0, 0], rtol=1e-10, atol=1e-13)


# False neighbours ----------------------------------------------------------------------------------------------------------------


def violated(theorem, run):
    found = check(theorem, run)
    against = np.isin(found.verdict, ("refuted", "contradiction"))
    return bool((against | ((found.verdict == "undecided") & (found.step >= 0))).any())


def test_adam_local_needs_both_ends_of_the_spectrum(problem):
    run = simulate(problem, "rmsprop", lr=0.05, steps=60, observe=["iterate"])
    one_end = replace(
        THEOREMS["adam-local"], name="neighbour", bound=MaxOver((1 - Symbol.tau_high_l) ** 2), statement=""
    )
    assert not violated("adam-local", run)
    assert violated(one_end, run)


def test_adam_energy_needs_its_epsilon(problem):
    run = simulate(problem, "adam", lr=0.02, steps=30, observe=["iterate"])
    ends = (Symbol.tau_low_l, Symbol.tau_high_l)
    gone = replace(
        THEOREMS["adam-energy"],
        name="neighbour",
        bound=MaxOver(sp.Max(*((1 - tau) ** 2 for tau in ends))),
        statement="",
    )
    assert not violated("adam-energy", run)
    assert violated(gone, run)


def test_the_certificate_needs_the_change_of_the_preconditioner(monkeypatch, problem):
    """rho and omega left out: the energy of a preconditioner that moves grows more than is claimed."""
    run = simulate(problem, "adam", lr=0.3, beta2=0.9, steps=30, observe=["iterate"])
    assert not violated("adam-certificate", run)
    monkeypatch.setattr(run_values, "_KEPT", {})
    still = replay(run)
    for name in ("rise", "fall"):
        still.__dict__[name] = np.ones_like(still.rise)
    monkeypatch.setattr(run_values, "replay_of", lambda trajectory: still)
    assert violated("adam-certificate", run)


def test_the_global_condition_number_does_not_enter():
    """The bound of a block is the same beside a block that is a thousand times as stiff."""
    one = BlockQuadratic.generate(1, 3, condition_number=5, problems=3, seed=4)
    h, e = one.hessian[3][:, 0], one.initial_error[3][:, 0]
    both = BlockQuadratic.from_blocks([h, 1024.0 * h], initial_error=np.concatenate([e, e], axis=1))
    seen = replay(simulate(both, "adam", lr=0.1, eps=0.0, steps=60, observe=["iterate"]))
    for bound in (energy.certificate_gaps(seen, 0, 12), energy.span_gaps(seen)):
        np.testing.assert_allclose(bound[:, 12:, 1], 1024.0 * bound[:, 12:, 0], rtol=1e-9)


def _apart(seen, block, t):
    """How far computed eigenvalues of B^(1/2) H B^(1/2) are from certified enclosures, over what is allowed; 3 x 3 blocks."""
    part = slice(3 * block, 3 * block + 3)
    rows = np.asarray(seen.hessian[3])[0, block]
    diagonal = seen.preconditioner[0, 0, t, part]
    scaled = fmpq_mat(
        3, 3, [rational(float(rows[i, j])) * rational(float(diagonal[i])) for i in range(3) for j in range(3)]
    )
    exact_ones = sorted((arb(x) for x in eigenvalues_of(scaled)), key=lambda x: float(x.mid()))
    low, high = (float(end[0, 0, t, block]) for end in seen.tau_ends)
    inside = bool(exact_ones[0] >= arb(low)) and bool(exact_ones[-1] <= arb(high))
    ends = zip(exact_ones, seen.taus[3][0, 0, t, block], strict=True)
    most = max(abs(float((x - arb(float(y))).mid())) for x, y in ends)
    return inside, most / seen.tau_error[0, 0, t, block]


def test_exact_eigenvalues_lie_in_the_widened_interval_and_not_in_a_narrow_one(adam, monkeypatch):
    def found():
        seen = replay(adam)
        return [_apart(seen, block, t) for block in range(2) for t in (1, 5, 20, 39)]

    inside, shares = zip(*found(), strict=True)
    assert all(inside)
    assert max(shares) < 0.1  # the constant leaves room
    monkeypatch.setattr(preconditioner, "eigenvalue_error", lambda size: 1e-18)
    assert not all(inside for inside, _ in found())


def test_the_factor_of_computed_eigenvalues_is_certified_for_exact_ones_and_without_slack_it_is_not():
    draw, every, sound, narrow = np.random.default_rng(5), certificates_for(0.9), 0, 0
    for _ in range(6):
        taus = np.sort(10.0 ** draw.uniform(-1, 1, 3))
        spread = np.float64(1e-12 * taus[-1])
        for c in list(zip(*every, strict=True))[::4]:
            own, others = Certificate(*map(np.float64, c)), (np.float64(1.01), np.float64(1.02))
            theta = float(factor_near(list(taus), spread, 0.9, own, *others))
            if not np.isfinite(theta):
                continue
            told = Fraction(0.9), exact(c), *map(Fraction, others)
            for tau in taus:
                ends = [Fraction(tau) - Fraction(spread), Fraction(tau) + Fraction(spread)]
                assert certified(Fraction(theta), *told, ends)
            bare = max(float(factor_at(tau, 0.9, own, *others)) for tau in taus)
            assert bare <= theta <= bare * (1 + 1e-6)
            sound += 1
            narrow += not all(
                certified(Fraction(bare), *told, [Fraction(tau) - Fraction(spread), Fraction(tau) + Fraction(spread)])
                for tau in taus
            )
    assert sound > 10
    assert narrow > 0.6 * sound  # a computed factor may be rounded up, too
