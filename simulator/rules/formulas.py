"""Define every optimizer as one symbolic Rule. No other file of the project contains these formulas.

Defaults and the place of `eps` follow torch. `natural_lr` is the centre of a grid of learning rates. It depends on the dials
alone, so that all draws have bitwise the same rates. Its derivations, with s the typical size of a coordinate of e_0:

- gradient steps: sqrt(2)/L, the geometric middle of [1/L, 2/L], in which the best constant rate lies: below 1/L every mode
  contracts more slowly than at 1/L, above 2/L the stiffest one diverges. With momentum the end of the stable range is
  2(1+momentum)/L (heavy-ball) or 2(1+momentum)/((1+2 momentum) L) (nesterov), and the middle moves with it.
- sign steps: near the solution a coordinate jumps between a and a - lr, 0 < a < lr, which leaves up to tr(H) lr^2/2
  (docs/theory.md, adam-cycle) of a start of tr(H) s^2/2; the rate at which this is `tolerance` times the start is
  s sqrt(tolerance). Memory of a fraction beta overshoots for about 1/(1-beta) steps, and the rate shrinks by that.
- one step of length lr for the whole gradient: the last jitter is along the stiffest direction, L lr^2/2.
- Adam and its relatives: the second moment averages over the run, so that a coordinate follows gradient descent with
  about the rate lr/rms(g) and may reach the tolerance before it jitters: ten steps to cross, s/10.
- Adagrad divides by the root of a sum, which grows like the root of the number of steps: one step crosses, s.
- rates relative to a bound or length that the rule computes itself: 1.
"""

from dataclasses import replace

import sympy as sp

from quadsim.simulator.rules.functions import BlockMean, Norm, Ratio, Total, symbols
from quadsim.simulator.rules.rule import Hyperparameter, Rule

__all__ = ["FORMULAS"]

g, w, lr = symbols.g, symbols.w, symbols.lr
L_l, mu_l = symbols.L_l, symbols.mu_l
m, c = sp.symbols("m c", real=True)
v, d, v_max = sp.symbols("v d v_max", nonnegative=True)
p1, p2, decay, p_mu = sp.symbols("p1 p2 decay p_mu", positive=True)
beta1, beta2, eps, momentum, weight_decay = sp.symbols("beta1 beta2 eps momentum weight_decay", nonnegative=True)
momentum_decay, max_norm = sp.Symbol("momentum_decay", nonnegative=True), sp.Symbol("max_norm", positive=True)


def _fraction(default: float, meaning: str) -> Hyperparameter:
    return Hyperparameter(default, 0.0, 1.0, high_open=True, meaning=meaning)


def _non_negative(default: float, meaning: str) -> Hyperparameter:
    return Hyperparameter(default, 0.0, meaning=meaning)


_BETA1 = _fraction(0.9, "memory of the mean gradient")
_BETA2 = _fraction(0.999, "memory of the mean squared gradient")
_EPS = _non_negative(1e-8, "added to the root, as in torch; 0 is allowed, and then 0/0 counts as 0")
_MOMENTUM = _fraction(0.9, "memory of past gradients")
_JITTER = symbols.error_scale * sp.sqrt(symbols.tolerance)
_ADAM_STATES = {m: beta1 * m + (1 - beta1) * g, v: beta2 * v + (1 - beta2) * g**2}
_ADAM_STEP = -lr * Ratio(m / (1 - p1), sp.sqrt(v / (1 - p2)) + eps)
_ADAM_CLOCKS = {p1: beta1 * p1, p2: beta2 * p2}
_ADAM_SETTINGS = {beta1: _BETA1, beta2: _BETA2, eps: _EPS}

# NAdam's momentum of step t is beta1 (1 - decay_t/2), decay_t = .96^(t momentum_decay). The step needs that of the step
# after, too; the product of all so far corrects the bias. Clocks advance together, so `p_mu` reads the old `decay`.
_DECAY = sp.Rational(96, 100) ** momentum_decay
_MU, _MU_NEXT = (beta1 * (1 - power / 2) for power in (decay, decay * _DECAY))

# LAMB's direction before it is rescaled. A block has one size, so that a quotient of norms is one of root mean squares.
_LAMB = Ratio(m / (1 - p1), sp.sqrt(v / (1 - p2)) + eps) + weight_decay * w

GD = Rule(
    name="gd",
    step=-lr * g,
    natural_lr=sp.sqrt(2) / symbols.L,
    summary="Gradient descent.",
    source="Cauchy (1847). torch.optim.SGD without momentum.",
)

_ALL = (
    GD,
    replace(
        GD,
        name="sgd",
        summary="Alias of gd. The gradient is that of the full batch, unless an oracle draws samples (--batch, oracle=).",
    ),
    Rule(
        name="heavy-ball",
        update={m: momentum * m + g},
        step=-lr * m,
        hyperparameters={momentum: _MOMENTUM},
        natural_lr=sp.sqrt(2) * (1 + momentum) / symbols.L,
        summary="Gradient descent with Polyak's momentum.",
        source="Polyak (1964). torch.optim.SGD(momentum=...), which multiplies the whole memory by the current rate.",
    ),
    Rule(
        name="nesterov",
        update={m: momentum * m + g},
        step=-lr * (g + momentum * m),
        hyperparameters={momentum: _MOMENTUM},
        natural_lr=sp.sqrt(2) * (1 + momentum) / ((1 + 2 * momentum) * symbols.L),
        summary="Gradient descent with Nesterov's momentum.",
        source="Nesterov (1983) at constant momentum. torch.optim.SGD(momentum=..., nesterov=True).",
    ),
    Rule(
        name="normalized-gd",
        step=-lr * Ratio(g, Norm(g)),
        natural_lr=_JITTER * sp.sqrt(symbols.trace / symbols.L),
        summary="A step of length lr along the gradient of the whole problem.",
        source="Shor (1985). The norm is over all coordinates, not per block.",
    ),
    Rule(
        name="gd-lambda",
        step=-lr * g * Ratio(Total(g**2), Total(L_l * g**2)),
        natural_lr=sp.S.One,
        default_lr=1.0,
        summary="Gradient descent with the rate lr/Lambda_G of the current gradient.",
        source="After Tomihari and Sato, arXiv 2502.00213, in the form derived here (gradient-descent-lemma).",
    ),
    Rule(
        name="signsgd",
        step=-lr * sp.sign(g),
        natural_lr=_JITTER,
        summary="The sign of the gradient; sign(0) = 0.",
        source="Bernstein et al. (2018), arXiv 1802.04434. No momentum (elsewhere the default is sometimes signum).",
    ),
    Rule(
        name="sign-lambda",
        step=-lr * Ratio(Total(sp.Abs(g)), Total(L_l)) * sp.sign(g),
        natural_lr=sp.S.One,
        default_lr=1.0,
        summary="SignSGD with the rate lr |g|_1/(P Lambda_P) of the current gradient.",
        source="After Tomihari and Sato, arXiv 2502.00213, in the form derived here (sign-descent-lemma).",
    ),
    Rule(
        name="signum",
        update={m: momentum * m + (1 - momentum) * g},
        step=-lr * sp.sign(m),
        hyperparameters={momentum: _MOMENTUM},
        natural_lr=_JITTER * (1 - momentum),
        summary="The sign of the mean gradient.",
        source="Bernstein et al. (2018), arXiv 1802.04434.",
    ),
    Rule(
        name="rmsprop",
        update={v: beta2 * v + (1 - beta2) * g**2},
        step=-lr * Ratio(g, sp.sqrt(v) + eps),
        hyperparameters={beta2: _fraction(0.99, "memory of the mean squared gradient (torch: alpha)"), eps: _EPS},
        natural_lr=_JITTER,
        summary="The gradient over the root of its mean square.",
        source="Tieleman and Hinton (2012). torch.optim.RMSprop: eps outside the root, no bias correction.",
    ),
    Rule(
        name="adam",
        clocks=_ADAM_CLOCKS,
        update=_ADAM_STATES,
        step=_ADAM_STEP,
        hyperparameters=_ADAM_SETTINGS,
        summary="The mean gradient over the root of the mean squared gradient, both bias-corrected.",
        source="Kingma and Ba (2015), Algorithm 1, arXiv 1412.6980. torch.optim.Adam: eps outside the root.",
    ),
    Rule(
        name="adam-frozen",
        update={d: d},
        start={d: sp.Abs(g)},
        step=-lr * Ratio(g, d),
        summary="Adam with beta1 = 0 and the second moment fixed at g_0^2; eps = 0, no bias correction.",
        source="Zhang et al., arXiv 2402.16788, Theorem 1, in the form derived here; d = sqrt(v) = |g_0|.",
    ),
    Rule(
        name="adamw",
        clocks=_ADAM_CLOCKS,
        update=_ADAM_STATES,
        step=-lr * weight_decay * w + _ADAM_STEP,
        hyperparameters={
            **_ADAM_SETTINGS,
            weight_decay: _non_negative(0.01, "decoupled: acts on the iterate w = e + w*, not on the gradient"),
        },
        summary="Adam with decoupled weight decay.",
        source="Loshchilov and Hutter (2019), arXiv 1711.05101. torch.optim.AdamW.",
    ),
    Rule(
        name="lion",
        update={c: beta1 * m + (1 - beta1) * g, m: beta2 * m + (1 - beta2) * g},
        step=-lr * (sp.sign(c) + weight_decay * w),
        hyperparameters={
            beta1: _fraction(0.9, "weight of the memory in the step"),
            beta2: _fraction(0.99, "memory of the mean gradient"),
            weight_decay: _non_negative(0.0, "decoupled: acts on the iterate w = e + w*"),
        },
        natural_lr=_JITTER * (1 - beta1),
        summary="The sign of a mix of gradient and memory.",
        source="Chen et al. (2023), arXiv 2302.06675, Algorithm 2.",
    ),
    Rule(
        name="block-gd",
        step=-lr * 2 / (L_l + mu_l) * g,
        natural_lr=sp.S.One,
        default_lr=1.0,
        summary="Gradient descent with the best constant rate of every block, times lr.",
        source="docs/theory.md section 2, block-gd.",
    ),
    Rule(
        name="adam-mini",
        clocks=_ADAM_CLOCKS,
        update={m: beta1 * m + (1 - beta1) * g, v: beta2 * v + (1 - beta2) * BlockMean(g**2)},
        step=_ADAM_STEP,
        hyperparameters=_ADAM_SETTINGS,
        summary="Adam with one second moment for every block.",
        source="Zhang et al. (2024), arXiv 2406.16793. Blocks are those of the Hessian.",
    ),
    Rule(
        name="adagrad",
        update={v: v + g**2},
        step=-lr * Ratio(g, sp.sqrt(v) + eps),
        hyperparameters={eps: _non_negative(1e-10, "added to the root, as in torch; 0 is allowed")},
        natural_lr=symbols.error_scale,
        summary="The gradient over the root of the sum of all its squares.",
        source="Duchi et al. (2011), JMLR 12. torch.optim.Adagrad without lr_decay, its sum starting at 0.",
    ),
    Rule(
        name="rmsprop-centered",
        update={m: beta2 * m + (1 - beta2) * g, v: beta2 * v + (1 - beta2) * g**2},
        step=-lr * Ratio(g, sp.sqrt(sp.Max(v - m**2, 0)) + eps),
        hyperparameters={beta2: _fraction(0.99, "memory of both means (torch: alpha)"), eps: _EPS},
        natural_lr=_JITTER,
        summary="The gradient over its standard deviation.",
        source="Graves (2013), arXiv 1308.0850. torch.optim.RMSprop(centered=True); where rounding makes the variance negative, "
        "torch returns NaN and this rule takes 0.",
    ),
    Rule(
        name="amsgrad",
        clocks=_ADAM_CLOCKS,
        update={**_ADAM_STATES, v_max: sp.Max(v_max, _ADAM_STATES[v])},
        step=-lr * Ratio(m / (1 - p1), sp.sqrt(v_max / (1 - p2)) + eps),
        hyperparameters=_ADAM_SETTINGS,
        summary="Adam with the largest second moment so far.",
        source="Reddi et al. (2018), arXiv 1904.09237. torch.optim.Adam(amsgrad=True): the maximum is taken before the bias is "
        "corrected.",
    ),
    Rule(
        name="nadam",
        clocks={decay: decay * _DECAY, p_mu: p_mu * _MU_NEXT, p2: beta2 * p2},
        update=_ADAM_STATES,
        step=-lr
        * Ratio(
            (1 - _MU) / (1 - p_mu) * g + _MU_NEXT / (1 - p_mu * _MU_NEXT) * m,
            sp.sqrt(v / (1 - p2)) + eps,
        ),
        hyperparameters={
            **_ADAM_SETTINGS,
            momentum_decay: _non_negative(0.004, "how fast the momentum rises to beta1"),
        },
        summary="Adam with Nesterov's momentum.",
        source="Dozat (2016). torch.optim.NAdam.",
    ),
    Rule(
        name="clipped-gd",
        step=-lr * g * sp.Min(1, max_norm / (Norm(g) + sp.Rational(1, 10**6))),
        hyperparameters={
            max_norm: Hyperparameter(1.0, 0.0, low_open=True, meaning="norm above which the gradient is scaled down")
        },
        natural_lr=sp.sqrt(2) / symbols.L,
        summary="Gradient descent with the norm of the whole gradient clipped.",
        source="Pascanu et al. (2013), arXiv 1211.5063. torch.nn.utils.clip_grad_norm_, whose 1e-6 it keeps, then SGD.",
    ),
    Rule(
        name="sgdw",
        update={m: momentum * m + g},
        step=-lr * (m + weight_decay * w),
        hyperparameters={
            momentum: _MOMENTUM,
            weight_decay: _non_negative(0.01, "decoupled: acts on the iterate w = e + w*, not on the gradient"),
        },
        natural_lr=sp.sqrt(2) * (1 + momentum) / symbols.L,
        summary="Heavy-ball with decoupled weight decay.",
        source="Loshchilov and Hutter (2019), arXiv 1711.05101, Algorithm 1, with the decay multiplied by lr as in "
        "torch.optim.AdamW.",
    ),
    Rule(
        name="lamb",
        clocks=_ADAM_CLOCKS,
        update=_ADAM_STATES,
        step=-lr * Ratio(sp.sqrt(BlockMean(w**2)) * _LAMB, sp.sqrt(BlockMean(_LAMB**2))),
        hyperparameters={
            beta1: _BETA1,
            beta2: _BETA2,
            eps: _non_negative(1e-6, "added to the root, as in the paper's code; 0 is allowed"),
            weight_decay: _non_negative(0.01, "added to the direction before it is rescaled"),
        },
        natural_lr=sp.S.One,
        summary="Adam's direction, in every block as long as lr times the block of the iterate.",
        source="You et al. (2020), arXiv 1904.00962, Algorithm 2 with phi(z) = z. A block whose iterate w = e + w* is 0 stays "
        "there; with w* = 0 the steps shrink with the error.",
    ),
)

FORMULAS: dict[str, Rule] = {rule.name: rule for rule in _ALL}
"""All optimizers by name, with their expressions."""
