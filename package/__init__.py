"""quadsim: a laboratory for when and why sign-based and adaptive optimizers beat gradient descent.

The three parts are `quadsim.simulator` (what is run), `quadsim.theory` (what is claimed) and `quadsim.cli` (how it is asked
for). They are imported where they are first used, so that `import quadsim` costs nothing.

    >>> import quadsim
    >>> quadsim.__version__.count(".") >= 2
    True
"""

# A regular package, although it holds nothing but its version: of a namespace package, any folder named quadsim/ in the
# working directory would be taken for a part.

from typing import Any

__all__ = ["__version__"]

__version__: str

_PARTS = ("cli", "simulator", "theory")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("quadsim")
    if name in _PARTS:
        from importlib import import_module

        return import_module(f"quadsim.{name}")
    raise AttributeError(f"module 'quadsim' has no attribute {name!r}; it has {', '.join((*__all__, *_PARTS))}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
