"""Learning-rate schedules: factors in [0, 1] that multiply the learning rate."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.support.checks import as_number, check_choice, check_count, check_interval

__all__ = ["SCHEDULES", "Schedule", "resolve_schedule"]

SCHEDULES = ("constant", "cosine", "linear", "inverse-sqrt", "inverse-time", "wsd")

_OWN = {"decay": "wsd", "half": "inverse-time"}
"""Options beside the warm-up: each belongs to one shape."""
_DECAY, _HALF = 0.2, 100.0


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule: a shape and a warm-up. It gives a factor in [0, 1] for every step.

    At the s-th step after the warm-up of `warmup` steps, with n steps after the warm-up in total: `constant` 1;
    `cosine` (1 + cos(pi s/n))/2; `linear` 1 - s/n; `inverse-sqrt` sqrt(k/(k+s)) with k = max(warmup, 1); `inverse-time`
    1/(1 + s/half) (Robbins and Monro 1951); `wsd` (warm-up, stable, decay; Hu et al., arXiv 2404.06395) 1 until the last
    `decay` n steps, in which it falls linearly: (n - s)/(decay n). The warm-up rises linearly: (t+1)/warmup at step t.

    Attributes:
        name: one of SCHEDULES.
        warmup: number of steps of the warm-up.
        decay: of `wsd`, the share of the steps after the warm-up in which the factor falls, above 0 and at most 1; 0 stands for
            its default, 0.2.
        half: of `inverse-time`, the number of steps until the factor is 1/2, above 0; 0 stands for its default, 100.

    Raises:
        ValueError: an unknown name, a value out of range, or an option of another shape.
    """

    name: str = "constant"
    warmup: int = 0
    decay: float = 0.0
    half: float = 0.0

    def __post_init__(self) -> None:
        check_choice("schedule", self.name, SCHEDULES)
        warmup = check_count("warm-up of the schedule", self.warmup, 0)
        object.__setattr__(self, "warmup", warmup)  # 100.0 and numpy's 100 are read as 100, and print so
        decay = check_interval("decay of the schedule", self.decay, 0.0, 1.0)
        half = check_interval("half of the schedule", self.half, 0.0)
        for option, owner in _OWN.items():
            if getattr(self, option) and self.name != owner:
                raise ValueError(
                    f"{option} must be given to the schedule {owner} alone, got {self.name} with {option}="
                    f"{getattr(self, option)}; leave it out."
                )
        object.__setattr__(self, "decay", decay or (_DECAY if self.name == "wsd" else 0.0))
        object.__setattr__(self, "half", half or (_HALF if self.name == "inverse-time" else 0.0))

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
        elif self.name == "inverse-time":
            shape = 1.0 / (1.0 + np.maximum(after, 0.0) / self.half)
        elif self.name == "wsd":
            shape = np.minimum(1.0, (length - after) / (self.decay * length))
        else:
            shape = np.ones(steps)
        return np.where(after < 0, (np.arange(steps) + 1.0) / max(self.warmup, 1), shape)

    def __str__(self) -> str:
        parts = [self.name, f"warmup={self.warmup}" if self.warmup else ""]
        parts.append(f"decay={self.decay!r}" if self.decay not in (0.0, _DECAY) else "")
        parts.append(f"half={self.half!r}" if self.half not in (0.0, _HALF) else "")
        return ":".join(part for part in parts if part)


def resolve_schedule(schedule: "Schedule | str | None") -> Schedule:
    """Return a Schedule from its text `name` or `name:warmup=N`, as `wsd:warmup=100:decay=0.3`; None is constant.

    Raises:
        ValueError: a text of another form, an unknown name or option, or a bad value.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if schedule is None:
        return Schedule()
    name, *parts = str(schedule).split(":")
    options: dict[str, Any] = {}
    for part in parts or [name] * ("=" in name):
        key, _, value = part.partition("=")
        known = {"warmup": value.isdecimal(), "decay": True, "half": True}
        number = as_number(value)
        if "=" in name or key in options or not known.get(key, False) or not isinstance(number, int | float):
            raise ValueError(
                f"schedule must be NAME or NAME:warmup=STEPS, got {schedule!r}; for example cosine:warmup=100, wsd:decay=0.2 or "
                "inverse-time:half=50."
            )
        if key in _OWN and not number > 0:
            raise ValueError(f"{key} of the schedule must be above 0, got {value}; leave it out for its default.")
        options[key] = number
    return Schedule(name, **options)
