"""Gradient oracles: what gradient a rule is given at an iterate. A run is problem x oracle x rule.

- `full`: the gradient H e itself, of the full batch.
- `additive`: that plus normal noise, independent of the iterate, with the covariance s^2 I (`isotropic`) or s^2 H (`hessian`).
- `stream`: the gradient of least squares on `batch` fresh samples a step: x ~ N(0, H), y = x'w* + v xi, and
  g = (1/b) sum_k x_k (x_k'e - v xi_k), whose mean is H e. `v` is the label noise; xi has the mean 0 and the variance 1.

Draws depend on (seed, problem, step, sample) alone, and not on the rule, its settings or the batch of problems: all settings of
a problem see the same samples, and a batch of 8 begins with the sample of a batch of 1.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.checks import check_choice, check_count, check_interval, check_known, named_options
from quadsim.simulator.support.draws import MOST_PAIRS, Purpose, normals, uniforms
from quadsim.simulator.support.noise_law import degrees_of_freedom

__all__ = ["FULL", "ORACLES", "Additive", "Full", "Oracle", "Stream", "batch_of", "resolve_oracle", "unit_noise"]

_LAWS = ("isotropic", "hessian")


@dataclass(frozen=True)
class Full:
    """The gradient without noise. Its text is `full`."""

    name: ClassVar[str] = "full"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Additive:
    """Normal noise that does not depend on the iterate. Its text is `additive:std=0.1:law=hessian`.

    Attributes:
        std: s, above 0.
        law: `isotropic`, covariance s^2 I, or `hessian`, covariance s^2 H.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "additive"

    std: float = 1.0
    law: str = "isotropic"

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", check_interval("std", self.std, 0.0, low_open=True))
        check_choice("law", self.law, _LAWS)

    def __str__(self) -> str:
        return f"{self.name}:std={self.std!r}" + ("" if self.law == _LAWS[0] else f":law={self.law}")


@dataclass(frozen=True)
class Stream:
    """Least squares from a stream of samples. Its text is `stream:batch=8:label_noise=0.1:noise_law=student-5`.

    Attributes:
        batch: b, number of fresh samples a step.
        label_noise: v, standard deviation of the labels around x'w*, 0 or more.
        noise_law: law of xi: `normal`, or `student-NU`, Student's t with NU > 2 degrees of freedom, scaled to the variance 1.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "stream"

    batch: int = 1
    label_noise: float = 0.0
    noise_law: str = "normal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch", check_count("batch", self.batch))
        object.__setattr__(self, "label_noise", check_interval("label noise", self.label_noise, 0.0))
        degrees_of_freedom(self.noise_law)

    def __str__(self) -> str:
        parts = [self.name, f"batch={self.batch}"]
        if self.label_noise:
            parts.append(f"label_noise={self.label_noise!r}")
        if self.noise_law != "normal":
            parts.append(f"noise_law={self.noise_law}")
        return ":".join(parts)

    def check_dimension(self, dimension: int) -> None:
        """Check that the numbers of a step have counters of their own.

        Raises:
            ValueError: 2^29 numbers or more in the samples of one problem.
        """
        pairs = (dimension + 1) // 2
        if self.batch * pairs >= MOST_PAIRS:
            most = (MOST_PAIRS - 1) // pairs
            raise ValueError(
                f"batch must be at most {most:,} in dimension {dimension} (2^29 numbers a step), got {self.batch}; use full."
            )

    def features(self, seed: int, problems: NDArray[np.int64], step: int, dimension: int) -> NDArray[np.float64]:
        """Return z of every sample, standard normal, (M, b, P); x = V sqrt(lambda) z in the eigenbasis V of H."""
        even = dimension + dimension % 2  # a pair of Box and Muller belongs to one sample, so that b changes no draw
        drawn = normals(seed, problems, Purpose.SAMPLE, step, self.batch * even)
        return drawn.reshape(problems.size, self.batch, even)[:, :, :dimension]

    def label_errors(self, seed: int, problems: NDArray[np.int64], step: int) -> NDArray[np.float64]:
        """Return v xi of every sample, (M, b)."""
        if not self.label_noise:
            return np.zeros((problems.size, self.batch))
        # One pair a sample, of which the first number is used: the draw of a sample does not depend on b.
        draw = normals if self.noise_law == "normal" else uniforms
        drawn = draw(seed, problems, Purpose.LABEL, step, 2 * self.batch)[:, ::2]
        return self.label_noise * (drawn if self.noise_law == "normal" else unit_noise(self.noise_law, drawn))


Oracle = Full | Additive | Stream

FULL = Full()
"""The default: no noise."""

ORACLES: dict[str, type[Full] | type[Additive] | type[Stream]] = {kind.name: kind for kind in (Full, Additive, Stream)}
"""Name of each kind of oracle to its class."""


def batch_of(oracle: Oracle) -> int | None:
    """Return the number of samples in a step; None where the gradient is not one of samples."""
    return oracle.batch if isinstance(oracle, Stream) else None


def unit_noise(noise_law: str, uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers of Student's law with the mean 0 and the variance 1 from uniform ones in (0, 1], by its quantiles."""
    from scipy.special import stdtrit

    degrees = degrees_of_freedom(noise_law)
    centred = uniform - 2.0**-54  # in (0, 1), where quantiles are finite
    return np.asarray(stdtrit(degrees, centred) * math.sqrt((degrees - 2.0) / degrees))


def resolve_oracle(oracle: "Oracle | str | None") -> Oracle:
    """Return an oracle from its text, `full`, `additive:std=S` or `stream:batch=B`; None is the full batch.

    Raises:
        ValueError: an unknown name or option, or a value out of range.

    Examples:
        >>> resolve_oracle("stream:batch=8:label_noise=0.1")
        Stream(batch=8, label_noise=0.1, noise_law='normal')
    """
    if oracle is None:
        return FULL
    if isinstance(oracle, Full | Additive | Stream):
        return oracle
    name, options = named_options("oracle", str(oracle))
    kind = ORACLES[check_choice("oracle", name, ORACLES)]
    check_known(f"option of the oracle {name}", options, [f.name for f in fields(kind)])
    return kind(**options)
