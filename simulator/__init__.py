"""Simulator: problems, rules, engines and sweeps.

The public names stand in `__init__.pyi`, and each is imported when it is first used: a command that shows a formula needs no
torch, and one that shows a stored table no compiler.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
