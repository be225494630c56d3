"""Theory: theorems with machine-checked proofs, checks of runs against them, and the claims of the papers.

The public names stand in `__init__.pyi`, and each is imported when it is first used: a test suite of somebody else, whose
pytest loads our plugin from this package, must not have to load SymPy and Z3.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
