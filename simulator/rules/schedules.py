"""Learning-rate schedules: factors in [0, 1] that multiply the learning rate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.checks import check_choice, check_count

__all__ = ["SCHEDULES", "Schedule", "resolve_schedule"]

SCHEDULES = ("constant", "cosine", "linear", "inverse-sqrt")


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule: a shape and a warm-up. It gives a factor in [0, 1] for every step.

    At the s-th step after the warm-up of `warmup` steps, with n steps after the warm-up in total: `constant` 1;
    `cosine` (1 + cos(pi s/n))/2; `linear` 1 - s/n; `inverse-sqrt` sqrt(k/(k+s)) with k = max(warmup, 1). The warm-up rises
    linearly: (t+1)/warmup at step t.

    Attributes:
        name: one of SCHEDULES.
        warmup: number of steps of the warm-up.

    Raises:
        ValueError: an unknown name or a negative warm-up.
    """

    name: str = "constant"
    warmup: int = 0

    def __post_init__(self) -> None:
        check_choice("schedule", self.name, SCHEDULES)
        warmup = check_count("warm-up of the schedule", self.warmup, 0)
        object.__setattr__(self, "warmup", warmup)  # 100.0 and numpy's 100 are read as 100, and print so

    @property
    def is_constant(self) -> bool:
        """Whether every factor is 1."""
        return self.name == "constant" and self.warmup == 0

    def check(self, steps: int) -> None:
        """Check that the warm-up is shorter than the run.

        Raises:
            ValueError: the warm-up has as many steps as the run, or more.
        """
        if self.warmup >= steps:
            raise ValueError(
                f"warm-up must be below the number of steps ({steps}), got {self.warmup}; shorten it or run longer."
            )

    def factors(self, steps: int) -> NDArray[np.float64]:
        """Return the factor of every step, (steps,).

        Raises:
            ValueError: a warm-up that is not shorter than the run.
        """
        self.check(steps)
        after = np.arange(steps, dtype=np.float64) - self.warmup
        length = max(steps - self.warmup, 1)
        if self.name == "cosine":
            shape = (1.0 + np.cos(np.pi * after / length)) / 2.0
        elif self.name == "linear":
            shape = 1.0 - after / length
        elif self.name == "inverse-sqrt":
            reference = max(self.warmup, 1)
            shape = np.sqrt(reference / (reference + np.maximum(after, 0.0)))
        else:
            shape = np.ones(steps)
        return np.where(after < 0, (np.arange(steps) + 1.0) / max(self.warmup, 1), shape)

    def __str__(self) -> str:
        return f"{self.name}:warmup={self.warmup}" if self.warmup else self.name


def resolve_schedule(schedule: "Schedule | str | None") -> Schedule:
    """Return a Schedule from its text `name` or `name:warmup=N`; None is constant.

    Raises:
        ValueError: a text of another form, an unknown name or a bad warm-up.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule is None:
        return Schedule()
    name, colon, option = str(schedule).partition(":")
    if not colon and "=" not in name:
        return Schedule(name)
    key, _, value = option.partition("=")
    if key != "warmup" or not value.isdecimal():
        raise ValueError(
            f"schedule must be NAME or NAME:warmup=STEPS, got {schedule!r}; for example cosine:warmup=100."
        )
    return Schedule(name, int(value))
