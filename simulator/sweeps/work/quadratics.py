"""What a sweep over quadratics runs: one unit of problems, its counts, and what it costs in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines import choose_engine, prepare, simulate_optimizer
from quadsim.simulator.engines.job import Job
from quadsim.simulator.engines.number_range import check_range
from quadsim.simulator.problems.oracles import FULL, Stream
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.torch_classes import TorchOptimizer
from quadsim.simulator.runs.judged import Judge
from quadsim.simulator.runs.trajectory import Trajectory, recorded_steps
from quadsim.simulator.sweeps.config.quadratic_points import Point
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.sweeps.results.histogram import Counted
from quadsim.simulator.sweeps.work.work import PROCESS_BYTES, UNIT_BYTES, Columns, Work

__all__ = ["QuadraticWork"]

_MATRICES_ALIVE = 5  # of a problem, while it is made and taken over by an engine; measured, like what follows
_ARRAYS_ALIVE = 12  # of the state's size, in a step
_TILED_ARRAYS = 6  # of the state's size, where a kernel fills up its tiles of settings
_LANES = 16  # settings in a tile, at most
_CURVES_ALIVE = 6  # of the recorded gaps, while they are judged
_SAMPLES_ALIVE = 16  # of the numbers of a step's samples; the fused engine needs 7, and of one problem alone
_NUMBERS_PER_PROBLEM = 40
_BIN_BYTES = 1000.0  # of the histogram, while it is put together
_TALLIED_RUNS = 1 << 25  # in one unit where the device draws and counts, in parts of its own; some seconds


class QuadraticWork(Work[SweepConfig, Point, Trajectory]):
    """Units of `BlockQuadratic` problems, run by `simulate` or counted on the device."""

    curves = ("gap",)

    def check(self) -> None:
        """See `Work.check`."""
        config = self.config
        streams = [(point, point.oracle) for point in config.points if isinstance(point.oracle, Stream)]
        for point, oracle in streams:
            oracle.check_dimension(sum(point.block_sizes))
        fewer = f"fewer seeds, values or learning rates, or smaller blocks{' or batches' if streams else ''}"
        if config.kept == "rows":
            fewer = f"--keep quantiles, which keeps counts and histograms alone, or {fewer}"
        self.check_memory(fewer)
        for spec in config.specs:
            if isinstance(spec.optimizer, TorchOptimizer):
                spec.optimizer.check_loaded()
        for point in config.points:
            first = point.problem(1, config.seed)
            for rule in {None if spec.is_torch else spec.rule for spec in config.specs}:
                check_range(first, rule, config.tolerance, config.dtype)
        if config.engine != "auto":
            for point in config.points:
                for spec in config.specs:
                    if not spec.is_torch:
                        choose_engine(config.engine, self._job(point, spec))

    def run(
        self, point: Point, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
    ) -> Trajectory:
        """See `Work.run`."""
        config = self.config
        return simulate_optimizer(
            _problems(point, config.seed, seeds),
            spec,
            lr=rates,
            steps=steps,
            schedule=self.schedule(spec, steps),
            record="log",
            tolerance=config.tolerance,
            engine="auto" if spec.is_torch else config.engine,  # a class has its own
            oracle=point.oracle,
            dtype=config.dtype,
            device=config.device,
        )

    def columns(self, run: Trajectory) -> Columns:
        """See `Work.columns`."""
        return {
            "initial_gap": run.gap[:, :, 0],
            "final_gap": run.gap[:, :, -1],
            "empirical_rate": _empirical_rate(run),
        }

    def recorded(self, run: Trajectory) -> Columns:
        """See `Work.recorded`."""
        return {"gap": run.gap}

    def count(
        self,
        point: Point,
        spec: OptimizerSpec,
        rates: list[float],
        seeds: tuple[int, int],
        steps: int,
        judge: Judge | None,
    ) -> Counted:
        """Counts of one unit: of problems drawn on the device where that can be, which leaves nothing to judge."""
        if not self._is_tallied(point, spec):
            trajectory = self.run(point, spec, rates, seeds, steps)
            return Counted.of_trajectory(trajectory, judge)
        from quadsim.simulator.engines.tally import tally

        config = self.config
        first, number = seeds
        dials = {
            name: point.dials[name] for name in ("blocks", "block_size", "heterogeneity", "mode", "condition_number")
        }
        hyperparameters: dict[str, Any] = dict(
            spec.hyperparameters
        )  # of full batches, where beta2 has no half-life in samples
        found = tally(
            spec.rule,
            lr=rates,
            steps=steps,
            problems=number,
            seed=config.seed,
            first=first,
            schedule=self.schedule(spec, steps),
            tolerance=config.tolerance,
            dtype=config.dtype,
            device=config.device,
            **dials,
            **hyperparameters,
        )
        return Counted.of_tally(found, "fused")

    def firsts(self, point: Point, spec: OptimizerSpec, rates: int) -> range:
        """See `Work.firsts`."""
        if self._is_tallied(point, spec):
            return range(0, self.config.seeds, max(1, _TALLIED_RUNS // rates))
        each = self.problem_bytes(point, rates)
        return range(0, self.config.seeds, int(min(self.config.seeds, max(1, UNIT_BYTES // each))))

    def problem_bytes(self, point: Point, rates: int) -> float:
        """Working set of one problem under so many rates."""
        sizes = point.product_sizes
        tiles = -(-rates // _LANES) * _LANES
        states = sum(sizes) * max(_ARRAYS_ALIVE * rates, _TILED_ARRAYS * tiles)
        curves = _CURVES_ALIVE * rates * recorded_steps(self.config.steps, "log").size
        samples = _SAMPLES_ALIVE * point.oracle.batch * sum(sizes) if isinstance(point.oracle, Stream) else 0
        matrices = _MATRICES_ALIVE * sum(size**2 for size in sizes)
        return 8.0 * (matrices + states + curves + samples + _NUMBERS_PER_PROBLEM)

    def memory(self) -> float:
        """See `Work.memory`."""
        config = self.config
        records = recorded_steps(config.steps, "log").size
        settings = config.runs // config.seeds
        rates = settings // (len(config.points) * len(config.specs))
        units = max(self.problem_bytes(point, rates) for point in config.points)
        kept = self.rows_memory(records) if config.kept == "rows" else settings * records * _BIN_BYTES
        return PROCESS_BYTES + kept + max(units, min(UNIT_BYTES, units * config.seeds))

    def _is_tallied(self, point: Point, spec: OptimizerSpec) -> bool:
        """Whether the device draws the problems and counts their runs."""
        config = self.config
        if (
            config.kept == "rows"
            or config.device == "cpu"
            or config.engine not in ("auto", "fused")
            or config.is_categorical
        ):
            return False
        if spec.is_torch:
            return False
        dials = point.dials
        if dials["rotation"] != 1.0 or dials["gradient_heterogeneity"] is not None or dials["alignment"] is not None:
            return False
        if point.coupling > 0.0 or point.partition != "hessian" or point.oracle != FULL:
            return False
        from quadsim.simulator.engines.tally import why_not

        return why_not(self._job(point, spec)) is None

    def _job(self, point: Point, spec: OptimizerSpec) -> Job:
        """One problem of a point under one rate, for questions about engines."""
        config = self.config
        return prepare(
            point.problem(1, config.seed),
            spec.rule,
            lr=1.0,
            steps=config.steps,
            schedule=spec.schedule or config.schedule,
            record="log",
            dtype=config.dtype,
            device=config.device,
            oracle=point.oracle,
        )


class _Latest:
    """The problems of the latest unit: the units of a point follow each other, and every optimizer runs on the same problems."""

    def __init__(self) -> None:
        self._held: tuple[Point, int, tuple[int, int], BlockQuadratic] | None = None

    def get(self, point: Point, seed: int, seeds: tuple[int, int]) -> BlockQuadratic:
        """Problems `seeds` (first, how many) of a point, a pure function of its arguments."""
        held = self._held  # one tuple here, though another thread may replace it
        if held is None or held[0] is not point or held[1:3] != (seed, seeds):
            held = self._held = None  # before the next ones are made, so that memory holds one unit's problems
            held = self._held = (point, seed, seeds, point.problem(seeds[1], seed, seeds[0]))
        return held[3]


_problems = _Latest().get


def _empirical_rate(trajectory: Trajectory) -> NDArray[np.float64]:
    """Factor per step: tolerance^(1/steps) where the tolerance was reached, else (final/initial gap)^(1/steps)."""
    steps, last = trajectory.steps_to_tolerance, float(trajectory.steps[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.exp(np.log(trajectory.gap[:, :, -1] / trajectory.gap[:, :, 0]) / last)
        return np.asarray(np.where(np.isfinite(steps), trajectory.tolerance ** (1.0 / steps), whole))
