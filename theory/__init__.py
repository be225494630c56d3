"""Theory: what is claimed, and whether a run bears it out.

The public names stand in `__init__.pyi`, and each is imported when it is first used: a test suite of somebody else, whose
pytest loads our plugin from this package, must pay neither for SymPy nor for Z3.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
