"""Points of sweeps over quadratics: one combination of dials, a case, or a problem of the user's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from quadsim.simulator.problems.coupling import check_coupling, check_partition, joined_blocks, partition_sizes
from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.oracles import FULL, Full, Stream
from quadsim.simulator.problems.quadratic import BlockQuadratic, block_sizes_from, check_rotation
from quadsim.simulator.problems.spectra import (
    DEFAULT_CONDITION_NUMBER,
    Spectra,
    case_spectra,
    extreme_eigenvalues,
    heterogeneity_of,
    spectra_from_dials,
)
from quadsim.simulator.problems.starts import check_gradient_dials, gradient_spread
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.sweeps.config.given import GivenProblem

__all__ = ["DIALS", "ORACLE_DIALS", "POINT_COLUMNS", "GivenPoint", "Point"]

DIALS = (
    "heterogeneity",
    "mode",
    "blocks",
    "block_size",
    "condition_number",
    "gradient_heterogeneity",
    "alignment",
    "rotation",
    "coupling",
)
"""Dials of `BlockQuadratic.generate`; each may hold several values, which are crossed."""

ORACLE_DIALS = ("batch", "label_noise", "noise_law")
"""Dials of the gradient oracle; each may hold several values, which are crossed with those of the problems."""

POINT_COLUMNS = ("case", *DIALS, "partition", *ORACLE_DIALS, "heterogeneity_achieved")
"""Columns that say what a point of the grid is."""


@dataclass(frozen=True)
class Point:
    """One combination of dials (or a case), as arguments that make its problems.

    Attributes:
        dials: arguments of `BlockQuadratic.generate`, or `case` and the dials a case leaves free.
        partition: the blocks of rules and theorems, a name of PARTITIONS.
        oracle: what gradient the rules are given.
    """

    dials: Mapping[str, Any]
    partition: str = "hessian"
    oracle: Full | Stream = FULL

    def problem(self, problems: int, seed: int, first: int = 0) -> BlockQuadratic:
        """Problems `first` to `first + problems - 1` of this point."""
        arguments = {**self.dials, **self.gradient_dials, "problems": problems, "seed": seed, "first": first}
        arguments["partition"] = self.partition
        if "case" in arguments:
            return BlockQuadratic.case(arguments.pop("case"), **arguments)
        return BlockQuadratic.generate(**arguments)

    @cached_property
    def block_sizes(self) -> tuple[int, ...]:
        """P_l of every block of D; the blocks of H where there is no coupling."""
        if "case" in self.dials:
            return tuple(spectrum.size for spectrum in self.spectra)
        return block_sizes_from(self.dials["blocks"], self.dials["block_size"])

    @property
    def coupling(self) -> float:
        """c, by which the blocks are coupled."""
        return float(self.dials.get("coupling", 0.0))

    @cached_property
    def product_sizes(self) -> tuple[int, ...]:
        """Sizes of the blocks by which H is stored and multiplied."""
        if self.coupling > 0.0:
            return (sum(self.block_sizes),)
        return joined_blocks(
            BlockLayout(partition_sizes(self.partition, self.block_sizes)), BlockLayout(self.block_sizes)
        ).block_sizes

    @cached_property
    def spectra(self) -> Spectra:
        """The eigenvalues of every block of D: all that does not depend on a draw."""
        if "case" in self.dials:
            return case_spectra(self.dials["case"])
        dials = self.dials
        return spectra_from_dials(self.block_sizes, dials["heterogeneity"], dials["mode"], dials["condition_number"])

    def check(self) -> None:
        """Check all dials without making a problem.

        Raises:
            ValueError: a dial out of range, or dials that contradict each other.
        """
        check_rotation(self.dials["rotation"])
        check_coupling(self.coupling, self.block_sizes)
        check_partition(self.partition, self.block_sizes)
        check_gradient_dials(self.spectra, **self.gradient_dials)

    @cached_property
    def gradient_dials(self) -> dict[str, float | None]:
        """The gradient heterogeneity and the alignment of the start, as arguments that make its problems.

        The gradient heterogeneity is that of `gradient_spread`. The alignment is None where it has no effect.
        """
        ratio, alignment = self.dials.get("gradient_heterogeneity"), self.dials.get("alignment")
        ratio = gradient_spread(self.spectra, ratio, alignment)
        return {"gradient_heterogeneity": ratio, "alignment": None if self.ignores_alignment else alignment}

    @property
    def ignores_alignment(self) -> bool:
        """Whether an alignment is asked for that has no effect, as either all L_l or all |g_l|/sqrt(P_l) are equal."""
        equal = (self.dials.get("gradient_heterogeneity"), heterogeneity_of(self.spectra))
        return self.dials.get("alignment") is not None and 1.0 in equal

    @property
    def columns(self) -> dict[str, Any]:
        """The dials as columns of the summary; a case has the values of its spectra."""
        achieved = heterogeneity_of(self.spectra)
        out: dict[str, Any] = {"case": self.dials.get("case")} | {name: self.dials.get(name) for name in DIALS}
        out["gradient_heterogeneity"] = self.gradient_dials["gradient_heterogeneity"]
        size = out["block_size"]
        out["block_size"] = "+".join(map(str, size)) if isinstance(size, tuple) else str(size)
        out["blocks"] = len(self.block_sizes)
        if out["case"] is not None:
            largest, smallest = extreme_eigenvalues(self.spectra)
            out |= {"heterogeneity": achieved, "mode": "case", "condition_number": largest / smallest}
            out["block_size"] = "+".join(map(str, self.block_sizes))
        elif out["condition_number"] is None:
            out["condition_number"] = DEFAULT_CONDITION_NUMBER[out["mode"]]
        return out | {"partition": self.partition, **self.oracle_columns, "heterogeneity_achieved": achieved}

    @property
    def oracle_columns(self) -> dict[str, Any]:
        """The dials of the oracle as columns; the full batch has no noise."""
        if isinstance(self.oracle, Full):
            return {"batch": "full", "label_noise": 0.0, "noise_law": None}
        return {"batch": str(self.oracle.batch)} | {name: getattr(self.oracle, name) for name in ORACLE_DIALS[1:]}

    def natural_lr(self, spec: OptimizerSpec, tolerance: float) -> float:
        """The rate a rule's grid is centred on: `Rule.natural_lr` at this point's spectra.

        No draw enters, so all seeds share the rate bit by bit; with a coupling, L and mu are the ends of what H may have.
        """
        eigenvalues = np.sort(np.concatenate(self.spectra))
        values = {
            "L": float(eigenvalues[-1]) * (1.0 + self.coupling),
            "mu": float(eigenvalues[0]) * (1.0 - self.coupling),
            "trace": float(np.sum(eigenvalues)),
            "dimension": float(sum(self.block_sizes)),
            "error_scale": self.error_scale,
            "tolerance": tolerance,
        }
        return spec.natural_lr(values)

    @property
    def error_scale(self) -> float:
        """Typical size of a coordinate of e_0: 1 where coefficients are standard normal, else that of H^-1 g for |g_i| of 1."""
        if self.gradient_dials["gradient_heterogeneity"] is None:
            return 1.0
        return float(np.sqrt(np.mean(np.sort(np.concatenate(self.spectra)) ** -2.0)))

    @property
    def label(self) -> str:
        """What the point is called on the axis of comparison."""
        return str(self.dials["case"]) if "case" in self.dials else f"heterogeneity {self.dials['heterogeneity']:g}"


@dataclass(frozen=True)
class GivenPoint(Point):
    """A problem of a user's own as a point; its `dials` are empty.

    Attributes:
        given: its matrices.
        start: how starts are made, of STARTS.
    """

    given: GivenProblem = field(kw_only=True)
    start: str = field(kw_only=True)

    def problem(self, problems: int, seed: int, first: int = 0) -> BlockQuadratic:
        """Problems `first` to `first + problems - 1`: the same matrices, other starts."""
        return self.given.problem(self.start, problems, seed, first).with_partition(self.partition)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """P_l of every block."""
        return self.given.block_sizes

    @property
    def spectra(self) -> Spectra:
        """The eigenvalues above 0 of every block."""
        return self.given.spectra

    def check(self) -> None:
        """Check the law of the starts and the partition.

        Raises:
            ValueError: one that this problem does not have.
        """
        check_partition(self.partition, self.block_sizes)
        self.given.check_start(self.start)

    @property
    def columns(self) -> dict[str, Any]:
        """What the blocks have of the dials; condition numbers are of the range."""
        achieved = heterogeneity_of(self.spectra)
        largest, smallest = extreme_eigenvalues(self.spectra)
        return dict.fromkeys(POINT_COLUMNS) | {
            "case": self.label,
            "heterogeneity": achieved,
            "mode": "given",
            "blocks": len(self.block_sizes),
            "block_size": "+".join(map(str, self.block_sizes)),
            "condition_number": largest / smallest,
            "partition": self.partition,
            **self.oracle_columns,
            "heterogeneity_achieved": achieved,
        }

    @property
    def error_scale(self) -> float:
        """Typical size of a coordinate of e_0; 1 for both laws by which it is drawn."""
        if self.start not in ("given", "zero-start"):
            return 1.0
        error = self.given.error if self.start == "given" else self.given.minimizer
        assert error is not None
        return float(np.sqrt(np.mean(error**2))) or 1.0

    @property
    def label(self) -> str:
        """The name of the problem."""
        return self.given.name
