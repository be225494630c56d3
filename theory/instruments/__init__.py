"""Instruments of the claims: measures that are shown a known effect and a null before they judge anything."""

from quadsim.theory.instruments.instrument import Control, Controls, Instrument, show
from quadsim.theory.instruments.registry import INSTRUMENTS

__all__ = ["INSTRUMENTS", "Control", "Controls", "Instrument", "show"]
