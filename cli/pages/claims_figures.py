"""Draw the figures of reproduce again from its stored tables."""

from pathlib import Path
from typing import Any

from quadsim.cli.pages import CLAIMS as DOCUMENT
from quadsim.cli.pages.reading import document_of, listed, mapping, texts
from quadsim.simulator.figures.panels import save_figure
from quadsim.simulator.support import store
from quadsim.theory.claims import CLAIMS
from quadsim.theory.claims.running.outcome import draw, draw_reach

__all__ = ["draw_again"]


def draw_again(folder: Path) -> None:
    """Draw the figure of every known claim whose tables are in the folder.

    Raises:
        ValueError: tables that the experiment of the claim did not write.
    """
    for claim in map(mapping, listed(document_of(folder / DOCUMENT).get("claims"))):
        name = claim.get("id")
        if isinstance(name, str) and name in CLAIMS and claim.get("figure") == f"{name}/figure.png":
            _draw(folder, name, claim)


def _draw(folder: Path, name: str, claim: dict[str, Any]) -> None:
    home = folder.resolve() / name
    # Only files in the folder under their plain names: an untrusted path might lead anywhere.
    found = {path.stem: path for path in sorted(home.glob("*.parquet")) if path.resolve().parent == home}
    wanted = [key for key in found if f"{name}/{key}.parquet" in texts(claim.get("tables"))]
    if not wanted:
        return
    try:
        tables = {key: store.read_frame(found[key]) for key in wanted}
        figure, reach = draw(CLAIMS[name], tables), draw_reach(CLAIMS[name], tables)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"tables of {name} must be those of its experiment, got {home} ({reason}); run it again elsewhere."
        ) from error
    save_figure(figure, home, "figure")
    if reach is not None:
        save_figure(reach, home, "reach")
