"""The registry of problem families: everything in which a sweep over one kind of problem differs from a sweep over another.

What lies in a higher room (work, results, figures, the command line) is named by the path of its import, `package.module:name`,
and imported when it is first needed. So this module stays at the bottom of the arrows, and reading a configuration of
quadratics imports nothing of toy models.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quadsim.simulator.sweeps.config.options import QUADRATICS, SHARED, TOY_MODELS, Options

if TYPE_CHECKING:
    from pathlib import Path

    from quadsim.simulator.sweeps.config.grid import SweepGrid

__all__ = ["FAMILIES", "Family", "config_from_json", "family_of", "imported", "imported_later"]


@dataclass(frozen=True)
class Family:
    """One kind of problem that sweeps run on.

    Fields named "path" hold `package.module:name`, see `imported`. Words that depend on the configuration are properties of the
    configuration class (see `SweepGrid`): `criterion`, `axis`, `axis_label`, `axis_words`, `compared`, `place`.

    Attributes:
        kind: its name in `config.json`, equal to `kind` of the configuration class.
        config: path of the configuration class, a `SweepGrid`.
        work: path of the `Work` class, which runs the points of a configuration.
        options: its own options, by the names of the fields of the configuration class; those of `SHARED` are added.
        value: X of the columns `initial_X` and `final_X` and of the curve X: what the optimizers decrease.
        problems: what the problems are called, in the plural.
        steps_label: label of the axis of steps; `{tolerance}`, `{power}` (the tolerance as a power of ten), `{criterion}`,
            `{stays}` and `{mean}` ("stays " or "mean " where that is asked for) are filled in.
        figure: name of the file of the curve figure.
        curve_caption: what the curve figure shows, as the start of its caption.
        draw: path of the function that draws it from `Results`.
        judge: path of the `Judge` that holds runs against theorems; None: no theorem applies to these problems.
        guarantor: path of the `Guarantor` that is asked about optimizers without a bound at their best rates; None: none.
        option: the one of its options that asks for this family on the command line; None: the family that runs where no
            option asks for another. Exactly one family has None.
        long_from: runs times steps from which on a sweep may take ten seconds or more, so that its time is worth an estimate.
        purpose: what the command does with that option, as the end of "with --model, which".
        named_dials: dials that the label of a point names, so that titles do not repeat them.
        states_criterion: whether every answer begins with the criterion.
        answer: path of a function of `Results` that returns a further sentence of the answer, or the empty text.
        certified: likewise of a sentence on the guarantees, which are known after the answer.
        notes: path of a function of `Results` that returns further notes.
        table_columns: path of a tuple of `ExtraColumn`, after those that every table of best rates has.
        page_columns: path of a function of `Results` that returns further columns of the table in the report: pairs of a
            `Column` and a function from a row to its `Cell`.
        table_note: what the reader of the table in the report has to know about these columns.
        sections: paths of functions of `Results` that return further sections of the report, or None where there is nothing
            to say.
    """

    kind: str
    config: str
    work: str
    options: Options
    value: str
    problems: str
    curve_caption: str
    figure: str = "gap"
    draw: str = "quadsim.simulator.figures.sweep_figures:gap_figure"
    steps_label: str = "steps until {criterion}"
    judge: str | None = None
    guarantor: str | None = None
    option: str | None = None
    long_from: float = 1e8
    purpose: str = ""
    named_dials: tuple[str, ...] = ()
    states_criterion: bool = True
    answer: str | None = None
    certified: str | None = None
    notes: str | None = None
    table_columns: str | None = None
    page_columns: str | None = None
    table_note: str = ""
    sections: tuple[str, ...] = ()

    @property
    def all_options(self) -> Options:
        """Its options and those of every sweep, as this family has them."""
        return {**self.options, **{name: option for name, option in SHARED.items() if name not in self.options}}

    @property
    def config_class(self) -> "type[SweepGrid]":
        """The configuration class, imported."""
        found: type[SweepGrid] = imported(self.config)
        return found


_QUADRATICS = Family(
    kind="quadratic",
    config="quadsim.simulator.sweeps.config.quadratics:SweepConfig",
    work="quadsim.simulator.sweeps.work.quadratics:QuadraticWork",
    options=QUADRATICS,
    value="gap",
    problems="quadratics",
    curve_caption="Gap over the gap at the start",
    steps_label="steps until {mean}gap {stays}≤ {power} of the initial gap",
    judge="quadsim.theory:judge",
    guarantor="quadsim.theory:guarantees",
    states_criterion=False,
    certified="quadsim.simulator.sweeps.results.guaranteed:certified_comparison",
    notes="quadsim.simulator.sweeps.results.quadratics:notes",
    table_columns="quadsim.cli.text.sweep_columns:BOUNDS",
    page_columns="quadsim.cli.pages.sweep_bounds:theorem_columns",
    table_note="Bound: the steps after which the theorem says that the target is reached, at most. ",
    sections=("quadsim.cli.pages.sweep_bounds:bounds_section",),
)

_TOY_MODELS = Family(
    kind="model",
    config="quadsim.simulator.sweeps.config.toy_models:ModelSweepConfig",
    work="quadsim.simulator.sweeps.work.toy_models:ModelWork",
    options=TOY_MODELS,
    value="loss",
    problems="toy models",
    curve_caption="Loss",
    figure="loss",
    draw="quadsim.simulator.figures.loss_figure:loss_figure",
    steps_label="steps until unweighted loss {stays}≤ {tolerance:g} ln(classes)",
    option="model",
    long_from=2e5,
    purpose="trains networks",
    named_dials=("dial",),
    answer="quadsim.simulator.sweeps.results.toy_models:on_optimised_loss",
    notes="quadsim.simulator.sweeps.results.toy_models:notes",
    table_columns="quadsim.cli.text.sweep_columns:OPTIMISED",
)

FAMILIES: dict[str, Family] = {family.kind: family for family in (_QUADRATICS, _TOY_MODELS)}
"""Every family by the kind of its configurations. A worker in another process has only what this module registers."""


def imported(path: str) -> Any:
    """The object that a path names.

    Args:
        path: `package.module:name`.

    Raises:
        ImportError: no such module, or no such name in it.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as error:
        raise ImportError(
            f"path must name an object of a module as package.module:name, got {path!r}; correct the record of the family."
        ) from error


def imported_later(path: str) -> Callable[..., Any]:
    """The function that a path names, see `imported`; it is imported when it is first called."""

    def call(*arguments: Any, **options: Any) -> Any:
        return imported(path)(*arguments, **options)

    return call


def family_of(config: Any) -> Family:
    """The family of a configuration.

    Raises:
        TypeError: something that is not a configuration of a registered family.
    """
    family = FAMILIES.get(getattr(config, "kind", ""))
    if family is None or not isinstance(config, family.config_class):
        classes = " or a ".join(known.config.partition(":")[2] for known in FAMILIES.values())
        raise TypeError(
            f"config must be a {classes}, got {type(config).__name__}; create one, as SweepConfig(heterogeneity=(1, 10))."
        )
    return family


def config_from_json(content: Any, folder: "Path | None" = None) -> "SweepGrid":
    """Read a stored configuration of any family.

    Args:
        content: the document.
        folder: where it lies; it may have files beside it, as the blocks of a problem of a user's own.

    Raises:
        ValueError: something that is not a configuration.
    """
    kind = content.get("kind") if isinstance(content, dict) else None
    named = FAMILIES.get(kind) if isinstance(kind, str) else None
    return (named or _QUADRATICS).config_class.from_json(content, folder)  # the first format named no kind: quadratics
