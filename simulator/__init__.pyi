"""The public names of `quadsim.simulator`; `__init__.py` imports each from the module named here when it is first used."""

from .curvature.along_training import measure as measure
from .curvature.torch_blocks import blocks_of as blocks_of
from .engines import grid as grid
from .engines import simulate as simulate
from .engines.baseline import simulate_torch as simulate_torch
from .models import ToyProblem as ToyProblem
from .problems.files import load_problem as load_problem
from .problems.quadratic import BlockQuadratic as BlockQuadratic
from .rules.catalogue import RULES as RULES
from .rules.rule import BlockMean as BlockMean
from .rules.rule import Hyperparameter as Hyperparameter
from .rules.rule import Norm as Norm
from .rules.rule import Ratio as Ratio
from .rules.rule import Rule as Rule
from .rules.rule import Total as Total
from .rules.rule import symbols as symbols
from .rules.schedules import Schedule as Schedule
from .runs.training_run import TrainingRun as TrainingRun
from .runs.trajectory import Trajectory as Trajectory
from .sweeps.config.quadratics import SweepConfig as SweepConfig
from .sweeps.config.toy_models import ModelSweepConfig as ModelSweepConfig
from .sweeps.results.results import Results as Results
from .sweeps.results.results import load_results as load_results
from .sweeps.run.driver import sweep as sweep
from .training.loop import train as train
