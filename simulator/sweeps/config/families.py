"""Both kinds of sweep configuration, as they are stored."""

from typing import Any

from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig

__all__ = ["config_from_json"]


def config_from_json(content: Any) -> SweepGrid:
    """Read a stored configuration of either kind.

    Raises:
        ValueError: something that is not a configuration.
    """
    is_model = isinstance(content, dict) and content.get("kind") == ModelSweepConfig.kind
    return ModelSweepConfig.from_json(content) if is_model else SweepConfig.from_json(content)
