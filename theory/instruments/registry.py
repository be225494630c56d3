"""INSTRUMENTS: every instrument of the claims by name."""

from quadsim.theory.instruments.instrument import Instrument
from quadsim.theory.instruments.networks import NETWORKS
from quadsim.theory.instruments.races import RACES
from quadsim.theory.instruments.spectral import SPECTRAL

__all__ = ["INSTRUMENTS"]

INSTRUMENTS: dict[str, Instrument] = {one.name: one for one in (*SPECTRAL, *RACES, *NETWORKS)}
"""The instruments by name, in reading order."""
