"""SweepConfig: everything that determines a sweep, checked before anything runs."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from quadsim.simulator.problems.oracles import FULL, Full, Stream, batch_of
from quadsim.simulator.problems.starts import check_gradient_dials
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.sweeps.config.given import STARTS, GivenProblem
from quadsim.simulator.sweeps.config.grid import ROWS_UP_TO, SweepGrid, option_name, unique_values
from quadsim.simulator.sweeps.config.options import QUADRATICS
from quadsim.simulator.sweeps.config.quadratic_points import DIALS, ORACLE_DIALS, POINT_COLUMNS, GivenPoint, Point

__all__ = [
    "FIXED_BY_CASE",
    "FIXED_BY_PROBLEM",
    "SweepConfig",
]


FIXED_BY_CASE = ("heterogeneity", "mode", "blocks", "block_size", "condition_number")

FIXED_BY_PROBLEM = (*(name for name in DIALS if name != "block_size"), "case")
"""What a problem of a user's own fixes; `block_size` may say how its matrix is divided."""


@dataclass(frozen=True)
class SweepConfig(SweepGrid):
    """A grid of problems x seeds x optimizers x learning rates. With the same configuration a sweep gives the same results.

    Beside what every sweep has (`SweepGrid`; tolerance is relative to the gap at the start):

    Attributes:
        heterogeneity: c = max L_l / min L_l; like every dial here one value or several, which are crossed.
        mode: `scale` or `arrange`.
        blocks: B.
        block_size: P_l; a tuple inside the tuple holds the sizes of one problem, as `((1, 4, 9),)`.
        condition_number: of a block in `scale` (None: 10), of the whole in `arrange` (None: 5000).
        gradient_heterogeneity: see `BlockQuadratic.generate`.
        alignment: see there.
        rotation: see there.
        coupling: see there.
        case: named cases instead of the first five dials.
        problem_file: a file for `load_problem` instead of dials and cases; it becomes `problem`, and then this is None.
        start: how starts of such a problem are made, of `given.STARTS`; None: as they are given with it, else `normal`.
        problem: a `BlockQuadratic` of your own instead of a file; seeds draw its start.
        partition: the blocks of rules and theorems, see `BlockQuadratic.generate`.
        batch: samples of a stream in every step, or `full`; see `Stream`.
        label_noise: see there; not of the full batch.
        noise_law: see there; not of the full batch.
        engine: `auto` or an engine's name.
        keep: `rows` (a row per run, and curves) or `quantiles` (counts by status and a histogram of hitting times per point,
            optimizer and rate); None: rows up to ROWS_UP_TO runs (see `kept`).

    Raises:
        ValueError: any value or combination that cannot run.
    """

    kind: ClassVar[str] = "quadratic"
    stores_kind: ClassVar[bool] = False
    dials: ClassVar[tuple[str, ...]] = DIALS
    added_fields: ClassVar[tuple[str, ...]] = (*SweepGrid.added_fields, "coupling", "partition", *ORACLE_DIALS)

    until: str = QUADRATICS["until"].field()
    heterogeneity: tuple[float, ...] = QUADRATICS["heterogeneity"].field()
    mode: tuple[str, ...] = QUADRATICS["mode"].field()
    blocks: tuple[int, ...] = QUADRATICS["blocks"].field()
    block_size: tuple[int | tuple[int, ...], ...] = QUADRATICS["block_size"].field()
    condition_number: tuple[float | None, ...] = QUADRATICS["condition_number"].field()
    gradient_heterogeneity: tuple[float | None, ...] = QUADRATICS["gradient_heterogeneity"].field()
    alignment: tuple[float | None, ...] = QUADRATICS["alignment"].field()
    rotation: tuple[float, ...] = QUADRATICS["rotation"].field()
    coupling: tuple[float, ...] = QUADRATICS["coupling"].field()
    case: tuple[str, ...] = QUADRATICS["case"].field()
    problem_file: str | None = QUADRATICS["problem_file"].field()
    start: str | None = QUADRATICS["start"].field()
    partition: str = QUADRATICS["partition"].field()
    batch: tuple[str, ...] = QUADRATICS["batch"].field()
    label_noise: tuple[float, ...] = QUADRATICS["label_noise"].field()
    noise_law: tuple[str, ...] = QUADRATICS["noise_law"].field()
    engine: str = QUADRATICS["engine"].field()
    keep: str | None = QUADRATICS["keep"].field()
    problem: Any = None

    def __post_init__(self) -> None:
        self._take_problem()
        self._check_grid()
        # On a GPU, the kernels of a stream follow means of the gap; those of the full batch do not.
        on_gpu = self.device != "cpu" and "full" in self.batch
        if self.until == "mean" and (self.kept != "rows" or on_gpu):
            what = "counts are kept" if self.kept != "rows" else f"the device is {self.device} and the batch full"
            raise ValueError(
                f"until must be first or stays where {what}, got 'mean', which is not recorded there; use --keep rows, and "
                "--device cpu or batches of samples."
            )
        if self.case:
            for name in FIXED_BY_CASE:
                if getattr(self, name) != _DEFAULTS[name]:
                    raise ValueError(
                        f"{option_name(name)} must be left out with a case, which fixes it, got {getattr(self, name)}; drop one "
                        "of the two."
                    )
        else:
            object.__setattr__(self, "heterogeneity", tuple(sorted(set(self.heterogeneity))))
        for point in self.points:
            largest = max(point.product_sizes) if not self.case or point.coupling else 1
            if 8.0 * largest**2 > physical_memory():
                raise ValueError(
                    f"block size must fit in memory ({memory_text(physical_memory())} here), got {largest}, whose matrix alone "
                    f"needs {memory_text(8.0 * largest**2)}; use smaller blocks."
                )
            point.check()
        self._check_alignment()
        self._check_oracles()

    def _check_alignment(self) -> None:
        """Check that an alignment has an effect at one point at least.

        Beside points of other heterogeneities, one of equal blocks is compared with as it is; alone, it would answer a question
        that was not asked.

        Raises:
            ValueError: an alignment that has an effect nowhere.
        """
        asked = [point for point in self.points if point.dials.get("alignment") is not None]
        if asked and all(point.ignores_alignment for point in asked):
            dials = asked[0].dials
            check_gradient_dials(asked[0].spectra, dials["gradient_heterogeneity"], dials["alignment"])

    def _take_problem(self) -> None:
        """Put a problem of a user's own in one form: a `GivenProblem` and the law of its starts.

        Raises:
            ValueError: a file or a problem that cannot be swept, or dials beside it.
        """
        if self.problem_file is None and self.problem is None:
            if self.start is not None:
                raise ValueError(
                    f"start must come with a problem of your own, got {self.start!r} without one; add --problem-file, or "
                    "leave it out."
                )
            return
        if self.problem_file is not None and self.problem is not None:
            raise ValueError(
                "problem must be left out with problem_file, which gives it, got both; drop one of the two."
            )
        for name in FIXED_BY_PROBLEM:
            if getattr(self, name) != _DEFAULTS[name]:
                raise ValueError(
                    f"{option_name(name)} must be left out with a problem of your own, which fixes it, got "
                    f"{getattr(self, name)}; drop one of the two."
                )
        sizes = None if self.block_size == _DEFAULTS["block_size"] else unique_values(self.block_size)
        if sizes is not None and (self.problem_file is None or len(sizes) != 1 or not isinstance(sizes[0], tuple)):
            raise ValueError(
                f"block size must be sizes that divide the matrix of a problem file, got {self.block_size!r}; write them "
                "as 10+20."
            )
        given = (
            GivenProblem.of(self.problem)
            if self.problem_file is None
            else GivenProblem.from_file(self.problem_file, sizes and sizes[0])
        )
        start = check_choice("start", given.start if self.start is None else self.start, STARTS)
        if start in ("given", "zero-start") and self.seeds != 1:
            raise ValueError(
                f"seeds must be 1 where the start is not drawn ({start}), got {self.seeds}; give --seeds 1, or --start normal."
            )
        values = {"problem": given, "start": start, "problem_file": None, "block_size": _DEFAULTS["block_size"]}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def to_json(self) -> dict[str, Any]:
        """See `SweepGrid.to_json`; of a problem of a user's own the numbers are in a file of their own, see `write_files`."""
        out = super().to_json()
        own: dict[str, Any] = {}
        left_out = ["problem_file", "problem", "start"]
        if self.problem is not None:
            own = {"problem": self.problem.to_json(), "start": self.start}
            left_out += [*FIXED_BY_PROBLEM, "block_size"]
        return {name: value for name, value in out.items() if name not in left_out} | own

    def write_files(self, folder: Path) -> None:
        """See `SweepGrid.write_files`: the blocks of a problem of a user's own."""
        if self.problem is not None:
            self.problem.write(folder)

    @classmethod
    def read_files(cls, values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
        """See `SweepGrid.read_files`."""
        return {"problem": GivenProblem.from_folder(values["problem"], folder)} if "problem" in values else {}

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """All combinations of the dials, heterogeneity varying fastest; or the one problem of a user's own."""
        if self.problem is not None:
            return tuple(
                GivenPoint({}, self.partition, oracle, given=self.problem, start=str(self.start))
                for oracle in self.oracles
            )
        free = {name: getattr(self, name) for name in ("gradient_heterogeneity", "alignment", "rotation", "coupling")}
        if self.case:
            names = (*free, "case")
            axes = [*free.values(), self.case]
        else:
            names = (*DIALS[1:], DIALS[0])
            axes = [getattr(self, name) for name in names]
        out = []
        for values in itertools.product(*axes):
            dials = dict(zip(names, values, strict=True))
            out += [Point(dials, self.partition, oracle) for oracle in self.oracles]
        return tuple(out)

    @cached_property
    def oracles(self) -> tuple[Full | Stream, ...]:
        """What gradients the rules are given: all combinations of batch, label noise and its law; one for the full batch."""
        out: list[Full | Stream] = []
        for batch in self.batch:
            out += (
                [FULL]
                if batch == "full"
                else [Stream(int(batch), *noise) for noise in itertools.product(self.label_noise, self.noise_law)]
            )
        return tuple(out)

    def _check_oracles(self) -> None:
        """Check that noise of labels has labels.

        Raises:
            ValueError: noise or a half-life in samples where a batch is full, or a torch class, which is given the full gradient.
        """
        streams = [oracle for oracle in self.oracles if isinstance(oracle, Stream)]
        for name in ORACLE_DIALS[1:]:
            if not streams and getattr(self, name) != _DEFAULTS[name]:
                raise ValueError(
                    f"{option_name(name)} must come with a batch of samples, got {getattr(self, name)} with the full batch; "
                    "add --batch 8, or leave it out."
                )
        for spec, oracle in itertools.product(self.specs, self.oracles):
            spec.at_batch(batch_of(oracle))
        of_torch = [spec.label for spec in self.specs if spec.is_torch]
        if streams and of_torch:
            raise ValueError(
                f"batch must be full for a class of torch, got {streams[0].batch} with {of_torch[0]}; use rules, or --batch full."
            )

    @property
    def kept(self) -> str:
        """What is kept: `rows` or `quantiles`."""
        return self.keep or ("rows" if self.runs <= ROWS_UP_TO else "quantiles")

    @property
    def kept_by_size(self) -> bool:
        """See `SweepGrid.kept_by_size`."""
        return self.keep is None

    @classmethod
    def check_options(cls, given: Mapping[str, Any]) -> None:
        """See `SweepGrid.check_options`: a case fixes five of the dials, a problem of a user's own all.

        Raises:
            ValueError: one of those beside a case, or no name of a case.
        """
        if "problem_file" in given:
            for name in FIXED_BY_PROBLEM:
                if name in given:
                    raise ValueError(
                        f"--{name.replace('_', '-')} must be left out with --problem-file, which fixes it, got both; drop one of "
                        "the two."
                    )
        if "case" not in given:
            return
        for name in FIXED_BY_CASE:
            if name in given:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be left out with --case, which fixes it, got both; drop one of the two."
                )
        if not given["case"]:
            raise ValueError("case must hold at least one name, got an empty list; give one or leave it out.")

    @property
    def criterion(self) -> str:
        """When a run counts as solved, in words."""
        words = {"first": "the gap is", "stays": "the gap stays within", "mean": "the mean gap of ten steps is"}
        return f"{words[self.until]} {self.tolerance:g} of the start"

    @property
    def axis(self) -> str:
        """The column along which results are compared."""
        return "case" if self.is_categorical else "heterogeneity"

    @property
    def is_categorical(self) -> bool:
        """See `SweepGrid.is_categorical`."""
        return bool(self.case) or self.problem is not None

    @property
    def axis_label(self) -> str:
        """See `SweepGrid.axis_label`."""
        if self.problem is not None:
            return "problem"
        return "case" if self.case else "Hessian heterogeneity (max L / min L over blocks)"

    @property
    def axis_words(self) -> str:
        """See `SweepGrid.axis_words`."""
        if self.problem is not None:
            return "problem"
        return "case" if self.case else "Hessian heterogeneity"

    @property
    def place(self) -> str:
        """See `SweepGrid.place`."""
        if self.problem is not None:
            return "on {case}"
        return "on the cases {case}" if self.case else super().place

    @property
    def point_columns(self) -> tuple[str, ...]:
        """See POINT_COLUMNS."""
        return POINT_COLUMNS

    @property
    def facets(self) -> list[str]:
        """The dials beside the compared one that take several values."""
        free = [name for name in (*DIALS, *ORACLE_DIALS) if not (self.is_categorical and name in FIXED_BY_CASE)]
        return [name for name in free if name != self.axis and len(getattr(self, name)) > 1]


_DEFAULTS = {f.name: f.default for f in fields(SweepConfig)}
