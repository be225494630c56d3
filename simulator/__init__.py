"""Simulator: problems, rules, engines and sweeps. The public names."""

from quadsim.simulator.baseline import simulate_torch as simulate_torch
from quadsim.simulator.engines import grid as grid
from quadsim.simulator.engines import simulate as simulate
from quadsim.simulator.measurement import measure as measure
from quadsim.simulator.model_sweep import ModelSweepConfig as ModelSweepConfig
from quadsim.simulator.models import ToyProblem as ToyProblem
from quadsim.simulator.quadratic import BlockQuadratic as BlockQuadratic
from quadsim.simulator.results import Results as Results
from quadsim.simulator.results import load_results as load_results
from quadsim.simulator.rule import BlockMean as BlockMean
from quadsim.simulator.rule import Hyperparameter as Hyperparameter
from quadsim.simulator.rule import Norm as Norm
from quadsim.simulator.rule import Ratio as Ratio
from quadsim.simulator.rule import Rule as Rule
from quadsim.simulator.rule import Total as Total
from quadsim.simulator.rule import symbols as symbols
from quadsim.simulator.rules import RULES as RULES
from quadsim.simulator.schedules import Schedule as Schedule
from quadsim.simulator.sweep import sweep as sweep
from quadsim.simulator.sweep_config import SweepConfig as SweepConfig
from quadsim.simulator.training import train as train
from quadsim.simulator.training_run import TrainingRun as TrainingRun
from quadsim.simulator.trajectory import Trajectory as Trajectory
