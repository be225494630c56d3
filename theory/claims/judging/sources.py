"""The papers whose claims are tried."""

__all__ = ["BEYOND", "TOMIHARI", "ZHANG"]

ZHANG = "Zhang et al."
TOMIHARI = "Tomihari and Sato"
BEYOND = "Beyond the papers"
