"""What a sweep asks of the problems it runs on: units of work, whatever the problems are."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.runs.judged import Judge
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support.memory import memory_text, physical_memory
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.histogram import Counted

__all__ = ["PROCESS_BYTES", "ROW_BYTES", "UNIT_BYTES", "Columns", "Indexed", "Run", "Work"]

Columns = Mapping[str, NDArray[Any]]

PROCESS_BYTES = 0.65e9  # Python and the libraries, with a kernel compiled and figures drawn
UNIT_BYTES = 256e6  # working set of one unit
ROW_BYTES = 750.0  # of the summary, where all of it is read
_BEST_ROW_BYTES = 300.0  # of the rows at the best rates, which the answer needs
_RESAMPLED_BYTES = 200e6  # of the bootstrap
_CURVES_BYTES = 256e6  # of curves that are read at once, at most
_CURVES_ALIVE = 4  # of the curves of one optimizer at a point, while they are drawn
_STORED_ROW_BYTES = 170.0  # of a row in its chunk and in the summary
_STORED_COUNTS_BYTES = 600.0  # of the counts of a rate in a chunk


class Indexed(Protocol):
    """Problems that know their number: M of them."""

    @property
    def index(self) -> Any:
        """The seed of every problem, (M,)."""


class Run(Protocol):
    """What a chunk takes from M problems under K rates; `Trajectory` and `TrainingRun` have it."""

    @property
    def problem(self) -> Indexed:
        """The problems."""

    @property
    def status(self) -> NDArray[np.str_]:
        """Of STATUSES, (M, K)."""

    @property
    def steps_to_tolerance(self) -> NDArray[np.float64]:
        """First step at which a run counts as solved, (M, K); `inf` if none."""

    @property
    def engine(self) -> str:
        """What ran."""


ConfigT = TypeVar("ConfigT", bound=SweepGrid)
PointT = TypeVar("PointT")
RunT = TypeVar("RunT", bound=Run)


class Work(ABC, Generic[ConfigT, PointT, RunT]):
    """Everything that depends on what kind of problem a sweep runs on."""

    curves: ClassVar[tuple[str, ...]]
    """Names of what `recorded` returns."""
    short_run: ClassVar[int] = 200
    """Steps of a run whose time tells that of a longer one."""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def check(self) -> None:
        """Find out before anything runs whether the grid fits in memory and every optimizer can run.

        Raises:
            ValueError: it does not, or cannot.
        """

    @abstractmethod
    def run(self, point: PointT, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int) -> RunT:
        """One unit: problems `seeds` (first, how many) of a point under all rates; a pure function of its arguments."""

    @abstractmethod
    def columns(self, run: RunT) -> Columns:
        """What the summary says of each run beside its status and steps, (M, K)."""

    @abstractmethod
    def recorded(self, run: RunT) -> Columns:
        """Curves, (M, K, R), at log-spaced steps."""

    @abstractmethod
    def firsts(self, point: PointT, spec: OptimizerSpec, rates: int) -> range:
        """The first problem of every unit, with the number of problems in one as step."""

    @abstractmethod
    def memory(self) -> float:
        """Bytes of the process: libraries, what is kept, and one unit's working set."""

    def rows_memory(self, records: int) -> float:
        """Bytes of memory that a row and curves a run take: of the best rates alone, the rest stays on disk.

        Args:
            records: recorded values of a run, all curves together.
        """
        config = self.config
        groups = len(config.points) * len(config.specs)
        curves = 8.0 * records * config.seeds
        read = max(min(groups * curves, _CURVES_BYTES), _CURVES_ALIVE * curves)
        return groups * config.seeds * _BEST_ROW_BYTES + read + _RESAMPLED_BYTES

    def disk(self) -> float:
        """Bytes in the folder, at most, before any extension of the grid: the chunks, and what is made of them."""
        config = self.config
        records = recorded_steps(config.steps, "log").size * len(self.curves)
        rates = config.runs // (config.seeds * len(config.points) * len(config.specs))
        if config.kept == "rows":
            return config.runs * (8.0 * records * (1.0 + 1.0 / rates) + _STORED_ROW_BYTES)
        points: Any = config.points
        chunks = sum(len(self.firsts(point, spec, rates)) for point in points for spec in config.specs)
        return chunks * rates * _STORED_COUNTS_BYTES

    def count(
        self,
        point: PointT,
        spec: OptimizerSpec,
        rates: list[float],
        seeds: tuple[int, int],
        steps: int,
        judge: Judge | None,
    ) -> Counted:
        """Counts of one unit, where a sweep keeps no rows.

        Raises:
            NotImplementedError: problems of which rows are always kept.
        """
        raise NotImplementedError

    def check_memory(self, fewer: str) -> None:
        """Find out whether the whole fits in memory.

        Args:
            fewer: what to use less of.

        Raises:
            ValueError: it does not.
        """
        needed, available = self.memory(), physical_memory()
        if needed > available:
            raise ValueError(
                f"grid must fit in memory ({memory_text(available)} here), got one that needs about {memory_text(needed)} for "
                f"{self.config.runs:,} runs; use {fewer}."
            )

    def schedule(self, spec: OptimizerSpec, steps: int) -> Schedule:
        """The optimizer's own or the configuration's; a run shorter than that (an estimate) goes without warm-up."""
        whole = spec.schedule or resolve_schedule(self.config.schedule)
        return whole if steps == self.config.steps else replace(whole, warmup=0)
