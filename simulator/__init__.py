"""Simulator: problems, rules, engines and sweeps. The public names."""

from quadsim.simulator.curvature.along_training import measure as measure
from quadsim.simulator.engines import grid as grid
from quadsim.simulator.engines import simulate as simulate
from quadsim.simulator.engines.baseline import simulate_torch as simulate_torch
from quadsim.simulator.models import ToyProblem as ToyProblem
from quadsim.simulator.problems.quadratic import BlockQuadratic as BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES as RULES
from quadsim.simulator.rules.rule import BlockMean as BlockMean
from quadsim.simulator.rules.rule import Hyperparameter as Hyperparameter
from quadsim.simulator.rules.rule import Norm as Norm
from quadsim.simulator.rules.rule import Ratio as Ratio
from quadsim.simulator.rules.rule import Rule as Rule
from quadsim.simulator.rules.rule import Total as Total
from quadsim.simulator.rules.rule import symbols as symbols
from quadsim.simulator.rules.schedules import Schedule as Schedule
from quadsim.simulator.runs.training_run import TrainingRun as TrainingRun
from quadsim.simulator.runs.trajectory import Trajectory as Trajectory
from quadsim.simulator.sweeps.config.quadratics import SweepConfig as SweepConfig
from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig as ModelSweepConfig
from quadsim.simulator.sweeps.results.results import Results as Results
from quadsim.simulator.sweeps.results.results import load_results as load_results
from quadsim.simulator.sweeps.run.driver import sweep as sweep
from quadsim.simulator.training.loop import train as train
