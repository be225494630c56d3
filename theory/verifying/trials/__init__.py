"""The runs on which each theorem is checked: random problems over the whole range of dials, and small ones in rationals."""

from quadsim.theory.verifying.trials.problems import random_problems, rational_problem
from quadsim.theory.verifying.trials.table import TRIALS, trial_of
from quadsim.theory.verifying.trials.trial import BATCH, Trial

__all__ = ["BATCH", "TRIALS", "Trial", "random_problems", "rational_problem", "trial_of"]
