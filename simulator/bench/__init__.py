"""Bench: the same work through the ways a user has today and through ours, in one process, as ratios."""

from quadsim.simulator.bench.ceilings import Ceiling as Ceiling
from quadsim.simulator.bench.ceilings import measure_ceiling as measure_ceiling
from quadsim.simulator.bench.measure import Comparison as Comparison
from quadsim.simulator.bench.measure import Slope as Slope
from quadsim.simulator.bench.measure import compare as compare
from quadsim.simulator.bench.measure import compare_closed_form as compare_closed_form
from quadsim.simulator.bench.measure import measure_slope as measure_slope
from quadsim.simulator.bench.model_measure import ModelComparison as ModelComparison
from quadsim.simulator.bench.model_measure import compare_models as compare_models
from quadsim.simulator.bench.model_ways import MODEL_RULES as MODEL_RULES
from quadsim.simulator.bench.model_ways import MODEL_SIZES as MODEL_SIZES
from quadsim.simulator.bench.model_ways import MODEL_WAYS as MODEL_WAYS
from quadsim.simulator.bench.model_ways import ModelWork as ModelWork
from quadsim.simulator.bench.ways import WAYS as WAYS
from quadsim.simulator.bench.ways import Work as Work
from quadsim.simulator.bench.ways import why_not as why_not
