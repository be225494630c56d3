"""Rules and the environment as text and as plain data."""

import os
import platform
from importlib.metadata import version
from typing import Any

import numpy as np

from quadsim.simulator.rule import LEARNING_RATE, Hyperparameter, Rule
from quadsim.simulator.rules import RULES

__all__ = ["environment", "rule_record", "rule_text", "rules_table"]


def rules_table() -> str:
    """A line for every rule: name, kind, summary."""
    width = max(map(len, RULES))
    lines = [f"{rule.name:{width}}  {rule.kind:9}  {rule.summary}" for rule in RULES.values()]
    return "\n".join([
        *lines,
        "",
        "linear: closed form exists; separable: acts within a block; global: needs the whole gradient.",
    ])


def rule_text(rule: Rule) -> str:
    """Everything about one rule."""
    lines = [f"{rule.name} ({rule.kind}): {rule.summary}", "", rule.formula(), ""]
    lines += [f"  {name}: {_range(h)}" for name, h in _hyperparameters(rule).items()]
    lines += ["", f"natural learning rate: {rule.natural_lr}", f"source: {rule.source}", "", "LaTeX:", rule.latex()]
    return "\n".join(lines)


def rule_record(rule: Rule) -> dict[str, Any]:
    """The same as plain data; an open end of a range is null."""

    def end(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "name": rule.name,
        "kind": rule.kind,
        "summary": rule.summary,
        "formula": rule.formula().splitlines(),
        "latex": rule.latex(),
        "states": [str(state) for state in rule.states],
        "hyperparameters": {
            name: {"default": end(h.default), "low": end(h.low), "high": end(h.high), "meaning": h.meaning}
            for name, h in _hyperparameters(rule).items()
        },
        "natural_lr": str(rule.natural_lr),
        "source": rule.source,
    }


def environment() -> dict[str, Any]:
    """Versions, devices and engines."""
    import torch

    from quadsim.simulator.engines import ENGINES

    packages = ("quadsim", "torch", "numpy", "sympy", "pandas", "xarray", "seaborn")
    gpus = (
        [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "engines": {name: (module.__doc__ or "").strip().splitlines()[0] for name, module in ENGINES.items()},
    }


def _hyperparameters(rule: Rule) -> dict[str, Hyperparameter]:
    rate = Hyperparameter(
        np.nan if rule.default_lr is None else rule.default_lr, 0.0, low_open=True, meaning=LEARNING_RATE.meaning
    )
    return {"lr": rate} | {str(key): value for key, value in rule.hyperparameters.items()}


def _range(h: Hyperparameter) -> str:
    low = "(-inf" if np.isinf(h.low) else f"{'(' if h.low_open else '['}{h.low:g}"
    high = "inf)" if np.isinf(h.high) else f"{h.high:g}{')' if h.high_open else ']'}"
    default = "no default" if np.isnan(h.default) else f"default {h.default:g}"
    return f"{low}, {high}, {default}" + (f"; {h.meaning}" if h.meaning else "")
