"""A slow second opinion in plain numpy, one instance at a time: every rule, the frozen-Adam bounds, metrics, Philox.

Written from the mathematical definitions alone (design.md section 3, theory.md sections 1 to 3) and importing nothing
from quadsim, so that agreement with an engine means something. All float64; `P` is the number of coordinates.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Blocks = Sequence[Array]  # the dense symmetric positive definite Hessian blocks, in the order of the coordinates


def block_slices(sizes: Sequence[int]) -> list[slice]:
    """Return the coordinates of every block, contiguous and in order."""
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def block_extremes(blocks: Blocks) -> tuple[Array, Array]:
    """Return (L_l, mu_l): the largest and the smallest eigenvalue of every block, each of shape (B,)."""
    spectra = [np.linalg.eigvalsh(block) for block in blocks]
    return np.array([spectrum[-1] for spectrum in spectra]), np.array([spectrum[0] for spectrum in spectra])


def hessian_times(blocks: Blocks, e: Array) -> Array:
    """Return H e for H = blkdiag(blocks)."""
    parts = block_slices([len(block) for block in blocks])
    return np.concatenate([block @ e[part] for block, part in zip(blocks, parts, strict=True)])


class Rule:
    """One optimizer on one instance: delta = -lr * factor * direction(self, g, w, **hyper), and its state.

    Attributes:
        sizes, parts, L, mu: the blocks' sizes P_l, coordinates, and extreme eigenvalues.
        m, v: the state, shape (P,), starting at 0; each direction below says what it keeps there.
        t: index of the current step, 1 during the first.
        first: the first gradient seen.
    """

    def __init__(self, direction: Callable[..., Array], blocks: Blocks, *, lr: float, **hyper: float) -> None:
        """Start from the blocks (B of shape (P_l, P_l)), the learning rate and what differs from the defaults."""
        self.direction, self.lr, self.hyper = direction, lr, hyper
        self.sizes = [len(block) for block in blocks]
        self.parts, (self.L, self.mu) = block_slices(self.sizes), block_extremes(blocks)
        self.m, self.v, self.t = np.zeros(sum(self.sizes)), np.zeros(sum(self.sizes)), 0

    def step(self, g: Array, w: Array, factor: float = 1.0) -> Array:
        """Return what is to be added to the iterate `w`, shape (P,), and advance the state.

        The factor is the schedule's: it scales the learning rate (so decoupled decay too), never the state.
        """
        if not g.shape == w.shape == self.m.shape:
            raise ValueError(f"g and w must have shape {self.m.shape}, got {g.shape} and {w.shape}; pass one instance.")
        self.t += 1
        if self.t == 1:
            self.first = g.copy()
        return -self.lr * factor * self.direction(self, g, w, **self.hyper)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Divide with 0/0 := 0 (theory.md section 3, adam-is-sign), which only eps = 0 reaches; x/0 is inf, and warns."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=numerator != 0)


# The directions: what is multiplied by -lr. Defaults of the hyperparameters are in the signatures.


def gd(s: Rule, g: Array, w: Array) -> Array:
    """Gradient descent."""
    return g


def heavy_ball(s: Rule, g: Array, w: Array, momentum: float = 0.9) -> Array:
    """torch.optim.SGD with momentum: m = momentum m + g; direction m."""
    s.m = momentum * s.m + g
    return s.m


def nesterov(s: Rule, g: Array, w: Array, momentum: float = 0.9) -> Array:
    """torch.optim.SGD with nesterov=True: m = momentum m + g; direction g + momentum m."""
    s.m = momentum * s.m + g
    return g + momentum * s.m


def normalized_gd(s: Rule, g: Array, w: Array) -> Array:
    """Direction g / |g|_2 over the whole gradient, 0 where g = 0."""
    return g / np.linalg.norm(g) if g.any() else g


def gd_lambda(s: Rule, g: Array, w: Array) -> Array:
    """Direction g / Lambda_G, Lambda_G = sum_l |g_l|^2 / |g|^2 L_l; 0 where g = 0."""
    if not g.any():
        return g
    squares = np.array([np.sum((g[part] / np.abs(g).max()) ** 2) for part in s.parts])  # scaled: no underflow
    return g / float(squares / squares.sum() @ s.L)


def signsgd(s: Rule, g: Array, w: Array) -> Array:
    """Direction sign(g) with sign(0) = 0, no momentum."""
    return np.sign(g)


def sign_lambda(s: Rule, g: Array, w: Array) -> Array:
    """Direction |g|_1 / (P Lambda_P) sign(g), P Lambda_P = sum_l P_l L_l."""
    rate = float(np.abs(g).sum() / np.dot(s.sizes, s.L))
    return rate * np.sign(g)


def signum(s: Rule, g: Array, w: Array, momentum: float = 0.9) -> Array:
    """Sign of an average: m = momentum m + (1 - momentum) g; direction sign(m)."""
    s.m = momentum * s.m + (1 - momentum) * g
    return np.sign(s.m)


def rmsprop(s: Rule, g: Array, w: Array, beta2: float = 0.99, eps: float = 1e-8) -> Array:
    """torch.optim.RMSprop (its alpha is beta2): v = beta2 v + (1 - beta2) g^2; direction g / (sqrt(v) + eps)."""
    s.v = beta2 * s.v + (1 - beta2) * g**2
    return _ratio(g, np.sqrt(s.v) + eps)


def _adam(s: Rule, g: Array, square: Array, beta1: float, beta2: float, eps: float) -> Array:
    """Averages m, v of g and of `square`; direction m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)."""
    s.m = beta1 * s.m + (1 - beta1) * g
    s.v = beta2 * s.v + (1 - beta2) * square
    return _ratio(s.m / (1 - beta1**s.t), np.sqrt(s.v / (1 - beta2**s.t)) + eps)


def adam(s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Array:
    """torch.optim.Adam."""
    return _adam(s, g, g**2, beta1, beta2, eps)


def adamw(
    s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.01
) -> Array:
    """torch.optim.AdamW: Adam's direction + weight_decay w."""
    return _adam(s, g, g**2, beta1, beta2, eps) + weight_decay * w


def adam_mini(s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Array:
    """Adam with one second moment per block: mean over the block of g_i^2 in place of g_i^2."""
    means = [np.mean(g[part] ** 2) for part in s.parts]
    return _adam(s, g, np.repeat(means, s.sizes), beta1, beta2, eps)


def adam_frozen(s: Rule, g: Array, w: Array) -> Array:
    """Direction g / |g_0|, g_0 the first gradient seen: beta1 = 0, v = g_0^2 for ever, eps = 0, no bias correction."""
    return _ratio(g, np.abs(s.first))


def lion(s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0) -> Array:
    """Direction sign(beta1 m + (1 - beta1) g) + weight_decay w, and only then m = beta2 m + (1 - beta2) g."""
    direction = np.sign(beta1 * s.m + (1 - beta1) * g) + weight_decay * w
    s.m = beta2 * s.m + (1 - beta2) * g
    return direction


def block_gd(s: Rule, g: Array, w: Array) -> Array:
    """Direction 2 / (L_l + mu_l) g in block l."""
    return np.repeat(2 / (s.L + s.mu), s.sizes) * g


def adagrad(s: Rule, g: Array, w: Array, eps: float = 1e-10) -> Array:
    """torch.optim.Adagrad: v = v + g^2; direction g / (sqrt(v) + eps)."""
    s.v = s.v + g**2
    return _ratio(g, np.sqrt(s.v) + eps)


def rmsprop_centered(s: Rule, g: Array, w: Array, beta2: float = 0.99, eps: float = 1e-8) -> Array:
    """torch.optim.RMSprop with centered=True: averages m, v of g and g^2; direction g / (sqrt(v - m^2) + eps)."""
    s.m = beta2 * s.m + (1 - beta2) * g
    s.v = beta2 * s.v + (1 - beta2) * g**2
    return _ratio(g, np.sqrt(np.maximum(s.v - s.m**2, 0.0)) + eps)


def amsgrad(s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Array:
    """torch.optim.Adam with amsgrad=True: Adam with the largest v so far, each divided by the present 1 - beta2^t."""
    s.m = beta1 * s.m + (1 - beta1) * g
    s.v = beta2 * s.v + (1 - beta2) * g**2
    s.largest = np.maximum(getattr(s, "largest", 0.0), s.v)
    return _ratio(s.m / (1 - beta1**s.t), np.sqrt(s.largest / (1 - beta2**s.t)) + eps)


def nadam(
    s: Rule,
    g: Array,
    w: Array,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    momentum_decay: float = 0.004,
) -> Array:
    """torch.optim.NAdam: momentum mu_t = beta1 (1 - .96^(t momentum_decay) / 2) and its products correct the bias."""
    mu = [beta1 * (1 - 0.5 * 0.96 ** (step * momentum_decay)) for step in range(1, s.t + 2)]
    s.m = beta1 * s.m + (1 - beta1) * g
    s.v = beta2 * s.v + (1 - beta2) * g**2
    mean = (1 - mu[-2]) / (1 - np.prod(mu[:-1])) * g + mu[-1] / (1 - np.prod(mu)) * s.m
    return _ratio(mean, np.sqrt(s.v / (1 - beta2**s.t)) + eps)


def clipped_gd(s: Rule, g: Array, w: Array, max_norm: float = 1.0) -> Array:
    """torch.nn.utils.clip_grad_norm_, then SGD: direction g min(1, max_norm / (|g|_2 + 1e-6))."""
    return g * min(1.0, max_norm / (float(np.linalg.norm(g)) + 1e-6))


def sgdw(s: Rule, g: Array, w: Array, momentum: float = 0.9, weight_decay: float = 0.01) -> Array:
    """Heavy ball's direction + weight_decay w, the decay not in m."""
    s.m = momentum * s.m + g
    return s.m + weight_decay * w


def lamb(
    s: Rule, g: Array, w: Array, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-6, weight_decay: float = 0.01
) -> Array:
    """You et al., Algorithm 2: u = Adam's direction + weight_decay w; in every block |w_l| u_l / |u_l|, 0 where u_l = 0."""
    u = _adam(s, g, g**2, beta1, beta2, eps) + weight_decay * w
    lengths = [np.linalg.norm(u[part]) for part in s.parts]
    scaled = [
        np.linalg.norm(w[part]) * u[part] / length if length else u[part]
        for part, length in zip(s.parts, lengths, strict=True)
    ]
    return np.concatenate(scaled)


_DIRECTIONS = [gd, heavy_ball, nesterov, normalized_gd, gd_lambda, signsgd, sign_lambda, signum]
_DIRECTIONS += [rmsprop, adam, adam_frozen, adamw, lion, block_gd, adam_mini]
_DIRECTIONS += [adagrad, rmsprop_centered, amsgrad, nadam, clipped_gd, sgdw, lamb]

# "heavy-ball" -> constructor (blocks, *, lr, **hyperparameters), and so on; lr may be left out only for block-gd.
RULES: dict[str, Callable[..., Rule]] = {f.__name__.replace("_", "-"): partial(Rule, f) for f in _DIRECTIONS}
RULES["block-gd"] = partial(Rule, block_gd, lr=1.0)


def run_on_gradients(name: str, blocks: Blocks, gradients: ArrayLike, w0: ArrayLike, **hyper: float) -> Array:
    """Feed given gradients (T, P) to a rule started at w0 (P,); return the iterates (T+1, P)."""
    rule, iterates = RULES[name](blocks, **hyper), [np.array(w0, dtype=np.float64)]
    for g in np.asarray(gradients, dtype=np.float64):
        iterates.append(iterates[-1] + rule.step(g, iterates[-1]))
    return np.array(iterates)


def run(
    name: str,
    blocks: Blocks,
    e0: ArrayLike,
    steps: int,
    *,
    minimizer: ArrayLike | None = None,
    lr_factors: Iterable[float] | None = None,
    **hyper: float,
) -> tuple[Array, Array]:
    """Run a rule on the quadratic: g = H e, and w = e + minimizer (default 0) is what weight decay sees.

    `lr_factors` (steps,) multiplies lr at each step. Returns errors (steps+1, P) and gaps 1/2 e'He (steps+1,).
    """
    rule, errors = RULES[name](blocks, **hyper), [np.array(e0, dtype=np.float64)]
    shift = np.zeros_like(errors[0]) if minimizer is None else np.asarray(minimizer, dtype=np.float64)
    factors = [1.0] * steps if lr_factors is None else [float(factor) for factor in lr_factors]
    for _, factor in zip(range(steps), factors, strict=True):
        e = errors[-1]
        errors.append(e + rule.step(hessian_times(blocks, e), e + shift, factor))
    return np.array(errors), np.array([e @ hessian_times(blocks, e) / 2 for e in errors])


def steps_to_tolerance(gaps: ArrayLike, tolerance: float) -> float:
    """Return the first t with gap_t <= tolerance * gap_0, inf if there is none."""
    gaps = np.asarray(gaps, dtype=np.float64)
    return next((float(t) for t, gap in enumerate(gaps) if gap <= tolerance * gaps[0]), float("inf"))


def steps_to_stay(gaps: ArrayLike, tolerance: float) -> float:
    """Return the first t from which on every gap is <= tolerance * gap_0; inf if the last one is not (NaN never is)."""
    gaps = np.asarray(gaps, dtype=np.float64)
    stay = float("inf")
    for t, gap in enumerate(gaps):
        if not gap <= tolerance * gaps[0]:
            stay = float("inf")
        elif stay == float("inf"):
            stay = float(t)
    return stay


def steps_to_mean(gaps: ArrayLike, tolerance: float, window: int = 10) -> float:
    """Return the end of the first window (steps 1 to 10, 11 to 20, ...) whose mean gap is <= tolerance * gap_0, or inf."""
    gaps = np.asarray(gaps, dtype=np.float64)
    ends = range(window, len(gaps), window)
    return next((float(t) for t in ends if np.mean(gaps[t - window + 1 : t + 1]) <= tolerance * gaps[0]), float("inf"))


def frozen_adam_bounds(blocks: Blocks, e0: ArrayLike) -> dict[str, Any]:
    """Return the constants and the per-step gap factors of adam-frozen at lr = eta = min_l C1_l (theory.md section 3).

    Keys: C1_l, C2_l (B,), r, r_pub, eta; the factors published = max_l (1 - 1/(r_pub kappa_l)), sharpened = max_l
    (1 - eta/(C2_l kappa_l))^2, sharpened_r = max_l (1 - 1/(r kappa_l))^2 and exact = max_i (1 - eta sigma_i)^2. Always
    exact <= sharpened <= sharpened_r <= published. An entry of H e0 that is 0 violates the hypothesis: ValueError.
    """
    g = np.abs(hessian_times(blocks, np.asarray(e0, dtype=np.float64)))
    if not g.all():
        raise ValueError(f"H e0 must have no zero entry, got |H e0| = {g}; change e0.")
    (L, mu), parts = block_extremes(blocks), block_slices([len(block) for block in blocks])
    kappa = L / mu
    c1, c2 = (np.array([extreme(g[part]) for part in parts]) / L for extreme in (np.min, np.max))
    eta, r, r_pub = c1.min(), c2.max() / c1.min(), (c2**2).max() / (c1**2).min()
    scaled = [block / np.sqrt(np.outer(g[part], g[part])) for block, part in zip(blocks, parts, strict=True)]
    sigma = np.concatenate([np.linalg.eigvalsh(block) for block in scaled])  # of D^-1/2 H D^-1/2
    factors = {
        "published": np.max(1 - 1 / (r_pub * kappa)),
        "sharpened": np.max((1 - eta / (c2 * kappa)) ** 2),
        "sharpened_r": np.max((1 - 1 / (r * kappa)) ** 2),
        "exact": np.max((1 - eta * sigma) ** 2),
    }
    return {"C1_l": c1, "C2_l": c2, "r": r, "r_pub": r_pub, "eta": eta, **factors}


def gradient_metrics(H: Array, block_sizes: Sequence[int], g: Array) -> dict[str, Any]:
    """Return what the gradient g (P,) and the block-diagonal Hessian H (P, P) say about heterogeneity.

    Keys: Lambda_G, Lambda_P, norms = |g_l|/sqrt(P_l) (B,), heterogeneity = max/min of norms, alignment = Pearson
    correlation of log L_l with log norms. What is undefined (0/0, log 0, no variation, one block) is nan.
    """
    parts, shares = block_slices(block_sizes), np.array(block_sizes) / sum(block_sizes)
    L, _ = block_extremes([H[part, part] for part in parts])
    norms = np.array([np.sqrt(np.mean(g[part] ** 2)) for part in parts])
    Lambda_G = heterogeneity = alignment = np.nan
    if norms.any():
        Lambda_G = shares * norms**2 @ L / (shares @ norms**2)
    if norms.all():
        heterogeneity = norms.max() / norms.min()
        x, y = np.log(L), np.log(norms)
        if min(np.ptp(x), np.ptp(y)) > 1e-12:  # below that the variation is rounding
            alignment = np.corrcoef(x, y)[0, 1]
    result = {"Lambda_G": Lambda_G, "Lambda_P": shares @ L, "norms": norms}
    return result | {"heterogeneity": heterogeneity, "alignment": alignment}


Words4 = tuple[int, int, int, int]

# (counter, key, output) from Random123's kat_vectors, philox4x32 10; the third input is the digits of pi.
PHILOX_KAT: tuple[tuple[Words4, tuple[int, int], Words4], ...] = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)


def philox4x32(counter: Words4, key: tuple[int, int], rounds: int = 10) -> Words4:
    """Return four 32-bit words: Philox4x32 of Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3"."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(rounds):
        high0, low0 = divmod(0xD2511F53 * c0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32  # the key of the next round
    return c0, c1, c2, c3
