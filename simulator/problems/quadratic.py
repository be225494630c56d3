"""BlockQuadratic: a batch of block-diagonal quadratics, in error coordinates.

`f(w) = 1/2 (w - w*)' H (w - w*)` with `H = blkdiag(H_1..H_B)` positive definite; given matrices may also be positive
semi-definite, and w* is then any of the minimisers. Everything is kept in terms of the error `e = w - w*`: the gradient is
`H e` and the suboptimality gap `1/2 e' H e`, so neither loses digits near the minimiser. A direction of the null space moves
neither of the two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.problems.coupling import (
    check_coupling,
    check_partition,
    coupled_hessian,
    dense_blocks,
    diagonal_extremes,
    joined_blocks,
    partition_sizes,
    smallest_coupling,
)
from quadsim.simulator.problems.exact_input import (
    ExactQuadratic,
    check_labels,
    checked_block,
    checked_vector,
    exact_quadratic,
    null_dimensions,
)
from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.measures import Scales, achieved_dials, scales_of
from quadsim.simulator.problems.spectra import Spectra, case_spectra, spectra_from_dials
from quadsim.simulator.problems.starts import (
    check_gradient_dials,
    gradient_spread,
    start_by_gradient,
    start_by_law,
    start_by_rank,
)
from quadsim.simulator.support.arrays import array_of, list_of, numbers_of, plain, positions_of
from quadsim.simulator.support.checks import check_count, check_interval, check_seed
from quadsim.simulator.support.draws import haar_rotations, rotation_power

__all__ = ["BlockQuadratic", "block_sizes_from", "check_rotation"]

FloatArray = NDArray[np.float64]

MOST_BLOCKS = 10**7
"""Largest number of blocks. Some functions keep a Python object per block; ten million fill the memory of a workstation."""


@dataclass(frozen=True, eq=False)
class BlockQuadratic:
    """A batch of M block-diagonal quadratics with the same block sizes.

    Create one with `generate` (from dials), `from_spectra`, `case` (case studies of the paper) or `from_blocks` (your own
    matrices). Arrays are grouped by block size; `layout` maps them to coordinates.

    Rules and theorems may see other blocks than those of the Hessian (`partition`): with a coupling H is one block, and D, the
    block-diagonal matrix that is coupled, has several. Each block of the partition lies within a block of H.

    Attributes:
        layout: block sizes and coordinates of H: outside these blocks H is 0.
        hessian: block size to H_l, (M, B_size, P_l, P_l), symmetric.
        eigenvalues: block size to ascending eigenvalues, (M, B_size, P_l); those of a null space are exactly 0.
        eigenvectors: block size to eigenvectors in columns, (M, B_size, P_l, P_l).
        initial_coefficients: block size to e_0 in the eigenbasis, (M, B_size, P_l).
        initial_error: block size to e_0, (M, B_size, P_l).
        minimizer: block size to w*, (M, B_size, P_l). It matters for weight decay only: with the default 0, decay pulls
            towards the solution.
        seed: key of the random draws.
        index: problem index of every problem, (M,); with `seed` it fixes all draws.
        dials: the arguments from which the batch was created.
        exact: the problem in rationals if it was given in integers or Fractions; else None.
        partition: the blocks of rules and theorems; None: those of H. See `rule_blocks`.
    """

    layout: BlockLayout
    hessian: Mapping[int, FloatArray]
    eigenvalues: Mapping[int, FloatArray]
    eigenvectors: Mapping[int, FloatArray]
    initial_coefficients: Mapping[int, FloatArray]
    initial_error: Mapping[int, FloatArray]
    minimizer: Mapping[int, FloatArray]
    seed: int = 0
    index: NDArray[np.int64] = field(default_factory=lambda: np.arange(1))
    dials: Mapping[str, Any] = field(default_factory=dict)
    exact: ExactQuadratic | None = None
    partition: BlockLayout | None = None

    @classmethod
    def generate(
        cls,
        blocks: int = 4,
        block_size: int | Sequence[int] = 8,
        heterogeneity: float = 1.0,
        mode: str = "scale",
        condition_number: float | None = None,
        gradient_heterogeneity: float | None = None,
        alignment: float | None = None,
        rotation: float = 1.0,
        problems: int = 1,
        seed: int = 0,
        first: int = 0,
        coupling: float = 0.0,
        partition: str = "hessian",
    ) -> Self:
        """Draw random problems with the given heterogeneity.

        Args:
            blocks: B, the number of blocks.
            block_size: P_l, one number or one per block.
            heterogeneity: c = max L_l / min L_l, at least 1.
            mode: `scale` (every block has a scale of its own) or `arrange` (one set of eigenvalues, assigned to blocks
                differently); see `quadsim.simulator.problems.spectra`.
            condition_number: condition number of each block in `scale` (default 10), of the whole in `arrange` (default 5000).
            gradient_heterogeneity: max/min over the blocks of |g_l|/sqrt(P_l) at the start. None: with an alignment, as large as
                max L_l / min L_l; without, the start has a standard normal coefficient on every eigenvector, drawn by the rank of
                its eigenvalue.
            alignment: Pearson correlation of log L_l with log(|g_l|/sqrt(P_l)) at the start; None: not controlled.
            rotation: 0 = eigenvectors on the coordinate axes, 1 = Haar; between, the geodesic power.
            problems: M.
            seed: key of all draws.
            first: index of the first problem; problem i of `seed` is the same whatever `first` and `problems` are.
            coupling: c in [0, 1): H = D^(1/2) (I + c O) D^(1/2), with the block-diagonal D of the other dials; see
                `quadsim.simulator.problems.coupling`. The start is that of D, or has the gradient of the gradient dials.
            partition: blocks of rules and theorems, a name of `coupling.PARTITIONS`; `hessian` is the blocks of D.

        Raises:
            ValueError: a dial out of range, or dials that contradict each other.

        References:
            docs/theory.md section 1; the dials follow arXiv 2402.16788 and 2502.00213.
        """
        sizes = block_sizes_from(blocks, block_size)
        spectra = spectra_from_dials(sizes, heterogeneity, mode, condition_number)
        dials = {
            "blocks": len(sizes),
            "block_size": block_size if isinstance(block_size, int) else tuple(sizes),
            "heterogeneity": float(heterogeneity),
            "mode": mode,
            "condition_number": condition_number,
        }
        return cls._build(
            spectra,
            dials,
            rotation=rotation,
            gradient_heterogeneity=gradient_heterogeneity,
            alignment=alignment,
            problems=problems,
            seed=seed,
            first=first,
            coupling=coupling,
            partition=partition,
        )

    @classmethod
    def case(cls, name: str, **arguments: Any) -> Self:
        """Draw problems with the spectra of a case study: `heterogeneous`, `homogeneous`, `transformer-like` or `cnn-like`.

        Args:
            name: see `quadsim.simulator.problems.spectra.case_spectra`.
            **arguments: gradient_heterogeneity, alignment, rotation, problems, seed, first, coupling, partition as in `generate`.

        Raises:
            ValueError: an unknown name or a dial out of range.
        """
        return cls._build(case_spectra(name), {"case": name}, **arguments)

    @classmethod
    def from_spectra(cls, spectra: Sequence[ArrayLike], **arguments: Any) -> Self:
        """Draw random problems with given eigenvalues of every block.

        Args:
            spectra: positive eigenvalues, one array (P_l,) per block.
            **arguments: gradient_heterogeneity, alignment, rotation, problems, seed, first, coupling, partition as in `generate`.

        Raises:
            ValueError: an eigenvalue that is not positive and finite, or a dial out of range.
        """
        spectra = list_of("spectra", spectra, "spectrum")
        if not spectra:
            raise ValueError("spectra must hold at least one block, got none; give the eigenvalues of every block.")
        ascending = tuple(np.sort(numbers_of(f"spectra[{block}]", s).ravel()) for block, s in enumerate(spectra))
        for block, spectrum in enumerate(ascending):
            if spectrum.size == 0 or not np.all(np.isfinite(spectrum)) or spectrum[0] <= 0.0:
                raise ValueError(
                    f"spectra[{block}] must hold positive finite eigenvalues, got {spectrum.tolist()}; "
                    "raise the smallest one above 0 or drop the block."
                )
        dials = {"spectra": tuple(tuple(spectrum.tolist()) for spectrum in ascending)}
        return cls._build(ascending, dials, **arguments)

    @classmethod
    def from_blocks(
        cls,
        blocks: Sequence[Any],
        *,
        initial_error: Any,
        minimizer: Any = None,
        problems: int | None = None,
        seed: int = 0,
        first: int = 0,
        partition: str | Sequence[int] = "hessian",
    ) -> Self:
        """Create problems from your own matrices.

        Integers and Fractions (also SymPy's) are kept exactly in `exact`, beside the float64 copy that the engines use.

        A singular matrix has a null space (`null_dimensions`): an eigenvalue of at most 4 P_l eps L_l in size counts as 0, and
        the rank of integers and Fractions is decided exactly. The gap is then measured on the range.

        Args:
            blocks: symmetric positive semi-definite matrices (P_l, P_l), or batches (M, P_l, P_l) of them.
            initial_error: e_0 = w_0 - w*, (P,) or (M, P); or a name in START_LAWS, by which it is drawn: `normal`, `sphere`, or
                `zero-start` (w_0 = 0).
            minimizer: w*, (P,) or (M, P); default 0. It matters for weight decay and for `zero-start` only.
            problems: M, where starts are drawn; None: the size of the batches.
            seed: key of the draws of starts and of the gradient noise.
            first: index of the first problem; problem i of `seed` has the same draws whatever `first` and `problems` are.
            partition: blocks of rules and theorems, a name of `coupling.PARTITIONS` or sizes; see `with_partition`.

        Raises:
            ValueError: a matrix that is not square, symmetric, finite and positive semi-definite, or is 0, or a length that does
                not fit.

        Examples:
            >>> singular = [[1, 1], [1, 1]]
            >>> problem = BlockQuadratic.from_blocks([singular, [[3]]], initial_error="normal", problems=16)
            >>> problem.problems, problem.null_dimensions[0].tolist()
            (16, [1, 0])
        """
        blocks = list_of("blocks", blocks, "matrix")
        if not blocks:
            raise ValueError("blocks must hold at least one matrix, got none; give a list of matrices.")
        law = initial_error if isinstance(initial_error, str) else None
        given = ({} if law else {"initial_error": initial_error}) | (
            {} if minimizer is None else {"minimizer": minimizer}
        )
        check_labels(blocks, given)
        blocks = [plain(f"blocks[{number}]", block) for number, block in enumerate(blocks)]
        given = {name: plain(name, vector) for name, vector in given.items()}
        matrices = [checked_block(number, block) for number, block in enumerate(blocks)]
        layout = BlockLayout(tuple(int(matrix.shape[-1]) for matrix in matrices))
        vectors = {name: checked_vector(name, vector, layout.dimension) for name, vector in given.items()}
        exact = None if law else exact_quadratic(blocks, given["initial_error"])
        null = [null_dimensions(n, block, m) for n, (block, m) in enumerate(zip(blocks, matrices, strict=True))]
        number = _batch_size([*matrices, *vectors.values()], problems, is_drawn=law is not None)
        shared = max(m.shape[0] for m in matrices)  # 1 where all problems have the same matrices: decomposed once
        whole = cls._given(
            layout,
            layout.group([np.broadcast_to(m, (shared, *m.shape[1:])) for m in matrices]),
            layout.group([np.broadcast_to(n, shared) for n in null]),
            vectors,
            law=law,
            seed=check_seed(seed),
            index=_indices(number, first),
            exact=exact,
        )
        return whole.with_partition(partition)

    @classmethod
    def _given(
        cls,
        layout: BlockLayout,
        hessian: Mapping[int, FloatArray],
        null: Mapping[int, NDArray[np.int64]],
        vectors: Mapping[str, FloatArray],
        *,
        law: str | None,
        seed: int,
        index: NDArray[np.int64],
        exact: ExactQuadratic | None,
    ) -> Self:
        """Create problems from checked matrices and vectors.

        Args:
            layout: block sizes.
            hessian: block size to H_l, (M, B_size, P_l, P_l) or (1, B_size, P_l, P_l).
            null: block size to the dimensions of null spaces, (M, B_size) or (1, B_size).
            vectors: `minimizer` and, unless there is a law, `initial_error`, (M, P) or (1, P).
            law: one of START_LAWS, or None.
            seed: key of the draws.
            index: problem indices, (M,).
            exact: the problem in rationals, or None.

        Raises:
            ValueError: a law that is unknown or does not fit the minimizer.
        """
        eigenvalues, eigenvectors = {}, {}
        for size, stacked in hessian.items():
            values, eigenvectors[size] = np.linalg.eigh(stacked)
            eigenvalues[size] = np.where(np.arange(size) < null[size][..., None], 0.0, values)
        hessian, eigenvalues, eigenvectors = (
            {size: np.repeat(x, index.size // x.shape[0], axis=0) for size, x in groups.items()}
            for groups in (hessian, eigenvalues, eigenvectors)
        )
        shape = (index.size, layout.dimension)
        if law:
            outside = {s: np.where(v[..., None, :] == 0.0, eigenvectors[s], 0.0) for s, v in eigenvalues.items()}
            error = start_by_law(law, seed, index, layout, outside, vectors.get("minimizer"))
        else:
            error = vectors["initial_error"]
        center = vectors.get("minimizer", np.zeros((1, layout.dimension)))
        split, centers = (layout.split(np.broadcast_to(a, shape)) for a in (error, center))
        return cls(
            layout=layout,
            hessian=hessian,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors,
            initial_coefficients={s: _transposed_times(eigenvectors[s], split[s]) for s in hessian},
            initial_error=split,
            minimizer=centers,
            seed=seed,
            index=index,
            dials={"blocks": "given"} | ({"initial_error": law} if law else {}),
            exact=exact,
        )

    @classmethod
    def _build(
        cls,
        spectra: Spectra,
        dials: dict[str, Any],
        *,
        gradient_heterogeneity: float | None = None,
        alignment: float | None = None,
        rotation: float = 1.0,
        problems: int = 1,
        seed: int = 0,
        first: int = 0,
        coupling: float = 0.0,
        partition: str = "hessian",
    ) -> Self:
        rotation = check_rotation(rotation)
        check_gradient_dials(spectra, gradient_heterogeneity, alignment)
        gradient_heterogeneity = gradient_spread(spectra, gradient_heterogeneity, alignment)
        alignment = None if alignment is None else float(alignment)
        number = check_count("problems", problems)
        seed = check_seed(seed)
        index = _indices(number, first)
        layout = BlockLayout(tuple(spectrum.size for spectrum in spectra))
        coupling = check_coupling(coupling, layout.block_sizes)
        partition = check_partition(partition, layout.block_sizes)
        vectors, matrices = _rotated(spectra, rotation, seed, index)
        hessian, eigenvectors = layout.group(matrices), layout.group(vectors)
        eigenvalues = layout.group([np.broadcast_to(s, (number, s.size)) for s in spectra])
        gradient = None
        if gradient_heterogeneity is None:
            coefficients = layout.group(start_by_rank(seed, index, spectra))
        else:
            gradient = layout.group(start_by_gradient(seed, index, spectra, gradient_heterogeneity, alignment))
            coefficients = {s: _transposed_times(eigenvectors[s], gradient[s]) / eigenvalues[s] for s in hessian}
        dials = dials | {
            "gradient_heterogeneity": gradient_heterogeneity,
            "alignment": alignment,
            "rotation": rotation,
            "problems": number,
            "seed": seed,
            "first": int(index[0]),
        }
        error = {s: np.matmul(eigenvectors[s], coefficients[s][..., None])[..., 0] for s in hessian}
        whole = cls(
            layout=layout,
            hessian=hessian,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors,
            initial_coefficients=coefficients,
            initial_error=error,
            minimizer={s: np.zeros_like(coefficients[s]) for s in hessian},
            seed=seed,
            index=index,
            dials=dials,
        )
        return whole._coupled(coupling, gradient).with_partition(partition)

    def _coupled(self, coupling: float, gradient: Mapping[int, FloatArray] | None) -> Self:
        """Return the problems with their blocks coupled; the blocks of rules stay what they are.

        Args:
            coupling: c; 0 changes nothing.
            gradient: the gradient at the start by block size, (M, B_size, P_l); None: the start stays.
        """
        if coupling == 0.0:
            return self
        layout, size = self.layout, self.dimension
        matrix = coupled_hessian(
            self.seed, self.index, layout, self.hessian, self.eigenvalues, self.eigenvectors, coupling
        )
        start = layout.flatten(self.initial_error)
        if gradient is not None:
            start = np.linalg.solve(matrix, layout.flatten(gradient)[..., None])[..., 0]
        whole = self._given(
            BlockLayout((size,)),
            {size: matrix[:, None]},
            {size: np.zeros((self.problems, 1), dtype=np.int64)},
            {"initial_error": start},
            law=None,
            seed=self.seed,
            index=self.index,
            exact=None,
        )
        return replace(whole, partition=layout, dials={**self.dials, "coupling": coupling})

    def with_partition(self, partition: str | Sequence[int]) -> Self:
        """Return the same problems with other blocks for rules and theorems.

        Where blocks of the partition and blocks of H overlap, these blocks of H are joined: `layout` then has larger blocks, in
        which H has zeros.

        Args:
            partition: a name of `coupling.PARTITIONS`, made from the blocks that rules see now, or block sizes.

        Raises:
            ValueError: an unknown name, a partition that does not differ from the blocks, or sizes that do not add up to P.

        Examples:
            >>> problem = BlockQuadratic.generate(blocks=4, block_size=8).with_partition("shifted")
            >>> problem.rule_blocks.block_sizes, problem.block_sizes
            ((12, 8, 8, 4), (32,))
        """
        if isinstance(partition, str):
            sizes = partition_sizes(
                check_partition(partition, self.rule_blocks.block_sizes), self.rule_blocks.block_sizes
            )
        else:
            sizes = tuple(check_count("block size", size) for size in list_of("partition", partition, "block size"))
            if sum(sizes) != self.dimension:
                raise ValueError(
                    f"partition must hold block sizes that add up to the number of coordinates ({self.dimension}), got "
                    f"{sum(sizes)}; correct the sizes."
                )
        blocks = BlockLayout(sizes)
        if blocks == self.rule_blocks:
            return self
        outer = joined_blocks(blocks, self.layout)
        whole = self if outer == self.layout else self._joined(outer)
        named = {"partition": partition if isinstance(partition, str) else sizes}
        return replace(whole, partition=None if blocks == outer else blocks, dials={**self.dials, **named})

    def _joined(self, outer: BlockLayout) -> Self:
        """Return the same problems with blocks of H joined to larger ones, whose eigenvectors are those of the parts."""
        matrix, vectors = (dense_blocks(self.layout, x) for x in (self.hessian, self.eigenvectors))
        values, coefficients, error, minimizer = (
            self.layout.flatten(x)
            for x in (self.eigenvalues, self.initial_coefficients, self.initial_error, self.minimizer)
        )
        parts: dict[str, list[FloatArray]] = {"H": [], "values": [], "vectors": [], "coefficients": []}
        end = 0
        for size in outer.block_sizes:
            own, end = slice(end, end + size), end + size
            order = np.argsort(values[:, own], axis=1, kind="stable")
            parts["H"].append(matrix[:, own, own])
            parts["values"].append(np.take_along_axis(values[:, own], order, axis=1))
            parts["coefficients"].append(np.take_along_axis(coefficients[:, own], order, axis=1))
            parts["vectors"].append(np.take_along_axis(vectors[:, own, own], order[:, None], axis=2))
        return replace(
            self,
            layout=outer,
            hessian=outer.group(parts["H"]),
            eigenvalues=outer.group(parts["values"]),
            eigenvectors=outer.group(parts["vectors"]),
            initial_coefficients=outer.group(parts["coefficients"]),
            initial_error=outer.split(error),
            minimizer=outer.split(minimizer),
            exact=None if self.exact is None else self.exact.joined(outer.block_sizes),
        )

    @property
    def problems(self) -> int:
        """M, the number of problems in the batch."""
        return int(self.index.size)

    @property
    def block_sizes(self) -> tuple[int, ...]:
        """P_l of every block."""
        return self.layout.block_sizes

    @property
    def dimension(self) -> int:
        """P, the number of coordinates of one problem."""
        return self.layout.dimension

    @property
    def rule_blocks(self) -> BlockLayout:
        """The blocks that rules and theorems see: `partition`, or `layout` where there is none."""
        return self.layout if self.partition is None else self.partition

    @cached_property
    def rule_extremes(self) -> Mapping[int, FloatArray]:
        """Size of the blocks of `rule_blocks` to L_l and mu_l of these diagonal blocks of H, (M, B_size, 2)."""
        if self.partition is None:
            return self.extremes
        return diagonal_extremes(self.partition, self.layout, self.hessian)

    @cached_property
    def rule_smoothness(self) -> FloatArray:
        """L_l of every block of `rule_blocks`, (M, B)."""
        return self.rule_blocks.join_blocks({size: both[..., 0] for size, both in self.rule_extremes.items()})

    @cached_property
    def rule_convexity(self) -> FloatArray:
        """mu_l of every block of `rule_blocks`, (M, B)."""
        return self.rule_blocks.join_blocks({size: both[..., 1] for size, both in self.rule_extremes.items()})

    @cached_property
    def coupling(self) -> FloatArray:
        """The smallest c with `(1-c) D <= H <= (1+c) D`, D the diagonal blocks of H by `rule_blocks`, (M,).

        It is 0 where rules see the blocks of H, and it may exceed 1: then `rule_blocks` says nothing about H.
        """
        return smallest_coupling(self.rule_blocks, self.layout, self.hessian)

    @cached_property
    def extremes(self) -> Mapping[int, FloatArray]:
        """Block size to L_l and mu_l, (M, B_size, 2): the largest eigenvalue, and the smallest one that is not 0."""
        out = {}
        for size, values in self.eigenvalues.items():
            null = np.sum(values == 0.0, axis=-1, keepdims=True)
            out[size] = np.concatenate([values[..., -1:], np.take_along_axis(values, null, axis=-1)], axis=-1)
        return out

    @cached_property
    def block_smoothness(self) -> FloatArray:
        """L_l, the largest eigenvalue of every block, (M, B)."""
        return self.layout.join_blocks({size: both[..., 0] for size, both in self.extremes.items()})

    @cached_property
    def block_strong_convexity(self) -> FloatArray:
        """mu_l, the smallest eigenvalue of every block that is not 0, (M, B)."""
        return self.layout.join_blocks({size: both[..., 1] for size, both in self.extremes.items()})

    @cached_property
    def null_dimensions(self) -> NDArray[np.int64]:
        """Dimension of the null space of every block, (M, B); 0 where the block is positive definite."""
        return self.layout.join_blocks({s: np.sum(values == 0.0, axis=-1) for s, values in self.eigenvalues.items()})

    @cached_property
    def initial_gap(self) -> FloatArray:
        """f(w_0) - f*, (M,)."""
        return np.asarray(
            sum(
                np.einsum("mbp,mbp,mbp->m", self.eigenvalues[size], coefficients, coefficients) / 2
                for size, coefficients in self.initial_coefficients.items()
            )
        )

    @cached_property
    def scales(self) -> Scales:
        """The largest and smallest numbers of the batch; inf or 0 where they are out of the range of float64."""
        return scales_of(self)

    @cached_property
    def achieved(self) -> dict[str, FloatArray]:
        """Return the values of the dials that the batch really has, computed from its spectra and its start.

        Returns:
            `heterogeneity`, `condition_number` (of the whole), `gradient_heterogeneity` and `alignment` at the start, each
            (M,), and `block_condition_number` (M, B). Condition numbers are of the range: eigenvalues of 0 are left out. An
            alignment that is undefined (equal L_l, equal gradients) is NaN.
        """
        return achieved_dials(self)

    @cached_property
    def roots(self) -> Mapping[int, FloatArray]:
        """V sqrt(lambda) of the blocks of each size, (M, B_size, P_l, P_l): it makes x ~ N(0, H_l) from standard normals."""
        sizes = self.eigenvectors
        return {size: sizes[size] * np.sqrt(self.eigenvalues[size])[..., None, :] for size in sizes}

    @cached_property
    def triangular_roots(self) -> Mapping[int, FloatArray]:
        """The upper triangular T with T T' = H_l of the blocks of each size, (M, B_size, P_l, P_l); H_l may be singular."""

        def triangular(root: FloatArray) -> FloatArray:
            # R' with its columns reversed is Q U, so that R R' = F U'U F with the reversing F, and T = F U' F.
            upper = np.linalg.qr(np.swapaxes(root[..., ::-1, :], -1, -2), mode="r")
            return np.ascontiguousarray(np.swapaxes(upper, -1, -2)[..., ::-1, ::-1])

        return {size: triangular(root) for size, root in self.roots.items()}

    def dense(self, problem: int) -> tuple[FloatArray, FloatArray]:
        """Return the matrix H (P, P) and the start e_0 (P,) of one problem, in float64."""
        matrix = np.zeros((self.dimension, self.dimension))
        for size, positions in self.layout.positions.items():
            for block, coordinates in enumerate(positions):
                matrix[np.ix_(coordinates, coordinates)] = self.hessian[size][problem, block]
        return matrix, self.layout.flatten({s: e[[problem]] for s, e in self.initial_error.items()})[0]

    def select(self, problems: Sequence[int]) -> "BlockQuadratic":
        """Return the batch of the problems at these positions, with the same draws: for running one instance alone."""
        chosen = positions_of("problems", problems, self.problems, low=-self.problems)

        def pick(groups: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
            return {size: array[chosen] for size, array in groups.items()}

        return BlockQuadratic(
            layout=self.layout,
            hessian=pick(self.hessian),
            eigenvalues=pick(self.eigenvalues),
            eigenvectors=pick(self.eigenvectors),
            initial_coefficients=pick(self.initial_coefficients),
            initial_error=pick(self.initial_error),
            minimizer=pick(self.minimizer),
            seed=self.seed,
            index=self.index[chosen],
            dials=self.dials,
            exact=self.exact,
            partition=self.partition,
        )

    def __repr__(self) -> str:
        dials = ", ".join(f"{key}={value!r}" for key, value in self.dials.items() if value is not None)
        return f"BlockQuadratic({self.problems} problems of {self.dimension} coordinates; {dials})"


def block_sizes_from(blocks: int, block_size: int | Sequence[int]) -> tuple[int, ...]:
    """Return P_l of every block from a number of blocks and one size, or one size per block.

    Raises:
        ValueError: a count below 1, or sizes whose number is not `blocks`.
    """
    several = None if isinstance(block_size, str | int) else array_of("block size", block_size)
    if several is not None and several.ndim:
        # From the entries as they came: one array of them would turn numbers beside text into text.
        given = block_size if isinstance(block_size, list | tuple) else several.tolist()
        sizes = tuple(check_count("block size", size) for size in given)
        if not sizes:
            raise ValueError("block size must hold at least one size, got none; give a size for every block.")
        # The default number of blocks (4) does not contradict a list of sizes: the list says how many there are.
        if blocks not in (len(sizes), 4):
            raise ValueError(
                f"blocks must equal the number of block sizes ({len(sizes)}), got {blocks}; leave blocks out or make "
                "them equal."
            )
        return sizes
    return (check_count("block size", block_size),) * check_count("blocks", blocks, high=MOST_BLOCKS)


def check_rotation(rotation: Any) -> float:
    """Return the rotation of eigenvectors as a float.

    Raises:
        ValueError: a value that is not in [0, 1].
    """
    return check_interval("rotation", rotation, 0.0, 1.0)


def _rotated(
    spectra: Spectra, rotation: float, seed: int, index: NDArray[np.int64]
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Return eigenvectors and matrices of every block, (M, P_l, P_l) each, from its eigenvalues."""
    vectors, matrices = [], []
    for block, spectrum in enumerate(spectra):
        if rotation == 0.0:
            basis = np.broadcast_to(np.eye(spectrum.size), (index.size, spectrum.size, spectrum.size))
        else:
            basis = rotation_power(haar_rotations(seed, index, block, spectrum.size), rotation)
        matrix = (basis * spectrum) @ np.ascontiguousarray(np.swapaxes(basis, -1, -2))
        vectors.append(basis)
        matrices.append((matrix + np.swapaxes(matrix, -1, -2)) / 2)
    return vectors, matrices


def _batch_size(arrays: Sequence[FloatArray], problems: int | None, *, is_drawn: bool) -> int:
    """Return M from arrays (M, ...) or (1, ...), and from the number of problems to draw.

    Raises:
        ValueError: arrays of different M, or a number of problems that is not theirs.
    """
    counts = {array.shape[0] for array in arrays} - {1}
    if len(counts) > 1:
        raise ValueError(
            f"blocks, initial_error and minimizer must have one batch size or 1, got {sorted(counts)}; make them equal."
        )
    number = max(counts, default=1)
    if problems is None:
        return number
    problems = check_count("problems", problems)
    if problems != number and (number > 1 or not is_drawn):
        raise ValueError(
            f"problems must be the number of problems that is given ({number}), got {problems}; leave it out, or draw the "
            'starts: initial_error="normal".'
        )
    return problems


def _indices(number: int, first: int) -> NDArray[np.int64]:
    """Return the indices of `number` problems from `first` on, (M,).

    Raises:
        ValueError: an index that 64 bits do not hold.
    """
    first = check_count("first", first, 0, None)
    if first + number > 1 << 63:
        raise ValueError(f"first + problems must be at most 2^63, got {first} + {number}; give a smaller first.")
    return np.arange(number) + first


def _transposed_times(vectors: FloatArray, array: FloatArray) -> FloatArray:
    return np.asarray(np.matmul(np.ascontiguousarray(np.swapaxes(vectors, -1, -2)), array[..., None])[..., 0])
