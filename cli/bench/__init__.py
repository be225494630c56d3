"""Bench: time the same work with quadsim and with alternatives (torch, JAX), in one process, and report ratios."""

from quadsim.cli.bench.ceilings import Ceiling as Ceiling
from quadsim.cli.bench.ceilings import measure_ceiling as measure_ceiling
from quadsim.cli.bench.measure import Comparison as Comparison
from quadsim.cli.bench.measure import Slope as Slope
from quadsim.cli.bench.measure import compare as compare
from quadsim.cli.bench.measure import compare_closed_form as compare_closed_form
from quadsim.cli.bench.measure import measure_slope as measure_slope
from quadsim.cli.bench.model_measure import ModelComparison as ModelComparison
from quadsim.cli.bench.model_measure import compare_models as compare_models
from quadsim.cli.bench.model_ways import MODEL_RULES as MODEL_RULES
from quadsim.cli.bench.model_ways import MODEL_SIZES as MODEL_SIZES
from quadsim.cli.bench.model_ways import MODEL_WAYS as MODEL_WAYS
from quadsim.cli.bench.model_ways import ModelWork as ModelWork
from quadsim.cli.bench.model_ways import why_not_model as why_not_model
from quadsim.cli.bench.ways import WAYS as WAYS
from quadsim.cli.bench.ways import Work as Work
from quadsim.cli.bench.ways import why_not as why_not
