"""What a sweep over toy models runs: one unit of instances, and what it costs in memory."""

from typing import Any

import numpy as np

from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.training_run import TrainingRun
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.sweeps.config.toy_models import ModelPoint, ModelSweepConfig
from quadsim.simulator.sweeps.work.work import PROCESS_BYTES, ROW_BYTES, Columns, Work
from quadsim.simulator.training.loop import train
from quadsim.simulator.training.request import chunk_bytes, schedule_bytes

__all__ = ["ModelWork"]

_INSTANCES = 4096  # in one unit: enough to fill a GPU


class ModelWork(Work[ModelSweepConfig, ModelPoint, TrainingRun]):
    """Units of `ToyProblem` instances, run by `train`."""

    curves = ("loss", "loss_weighted")
    short_run = 10

    def check(self) -> None:
        """See `Work.check`."""
        self.check_memory("fewer seeds, values or learning rates, or a smaller model")

    def run(
        self, point: ModelPoint, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
    ) -> TrainingRun:
        """See `Work.run`."""
        config = self.config
        problem = point.problem(seeds[1], config.seed, seeds[0])
        hyperparameters: dict[str, Any] = dict(spec.at_batch(problem.task.batch).hyperparameters)
        return train(
            problem,
            spec.rule,
            lr=rates,
            steps=steps,
            schedule=self.schedule(spec, steps),
            record="log",
            tolerance=config.tolerance,
            evaluate_every=config.evaluate_every,
            partition=config.partition,
            dtype=config.dtype,
            device=config.device,
            compile=config.compile or None,
            clip=config.clip,
            stop=config.until == "first",
            **hyperparameters,
        )

    def columns(self, run: TrainingRun) -> Columns:
        """See `Work.columns`."""
        initial = run.loss[:, :, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.exp(np.log(run.final_loss / initial) / run.stopped)
        return {
            "steps_to_tolerance_weighted": run.steps_to_tolerance_weighted,
            "steps_to_stay_weighted": run.steps_to_stay_weighted,
            "stopped": run.stopped,
            "initial_loss": initial,
            "final_loss": run.final_loss,
            "final_loss_weighted": run.final_loss_weighted,
            "empirical_rate": rate,
        }

    def recorded(self, run: TrainingRun) -> Columns:
        """See `Work.recorded`; where a run looks every so many steps, its last value stands until the next."""
        wanted = recorded_steps(int(run.steps[-1]), "log")
        place = np.searchsorted(run.steps, wanted, side="right") - 1
        return {"loss": run.loss[:, :, place], "loss_weighted": run.loss_weighted[:, :, place]}

    def firsts(self, point: ModelPoint, spec: OptimizerSpec, rates: int) -> range:
        """See `Work.firsts`."""
        return range(0, self.config.seeds, int(min(self.config.seeds, max(1, _INSTANCES // rates))))

    def memory(self) -> float:
        """See `Work.memory`."""
        config = self.config
        records = 2 * recorded_steps(config.steps, "log").size
        rates = config.runs // (config.seeds * len(config.points) * len(config.specs))
        problems = min(config.seeds, max(1, _INSTANCES // rates))
        units = schedule_bytes(config.steps) + max(
            problems * point.example.data_bytes
            + chunk_bytes(point.example, problems * rates, config.dtype, config.device)
            for point in config.points
        )
        # The answer on the optimised loss has a best rate of its own and reads all rows.
        return PROCESS_BYTES + self.rows_memory(records) + config.runs * ROW_BYTES + units
