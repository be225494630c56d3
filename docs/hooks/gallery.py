"""The gallery: figures that are drawn from small stored results while the site is built, and figures of full runs of claims.

`docs/gallery/gallery.json` lists the sweeps. Of each, `docs/gallery` holds the configuration and the numbers of the figure.
`python docs/hooks/gallery.py [NAME...]` runs the commands of the list and stores both again.
"""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mkdocs.structure.files import File

DOCS = Path(__file__).parent.parent
STORE = DOCS / "gallery"
ENTRIES = json.loads((STORE / "gallery.json").read_text(encoding="utf-8"))
_WIDEST = 480  # pixels of a thumbnail: twice its width on a page


def on_files(files: Any, config: Any) -> Any:
    """Draw the figures of the sweeps, and add thumbnails of all."""
    for entry in ENTRIES:
        picture = drawn(entry) if config.extra["figures"] == "drawn" else _blank()
        files.append(File.generated(config, f"figures/{entry['name']}.png", content=picture))
        files.append(File.generated(config, f"figures/small/{entry['name']}.png", content=_small(picture)))
    for claim in _claims():
        picture = (DOCS / claim["figure"]).read_bytes()
        files.append(File.generated(config, f"figures/small/claim-{claim['id']}.png", content=_small(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the two parts of the gallery."""
    if page.file.src_uri != "gallery.md":
        return markdown
    sweeps = [_figure(f"figures/{e['name']}.png", e["name"], e["title"], e["text"], e["command"]) for e in ENTRIES]
    claims = [
        _figure(f"claims.md#{c['id']}", f"claim-{c['id']}", c["id"], c["claim"], f"quadsim reproduce {c['id']} --full")
        for c in _claims()
    ]
    return markdown.replace("{{ SWEEPS }}", _grid(sweeps)).replace("{{ CLAIMS }}", _grid(claims))


def drawn(entry: dict[str, str]) -> bytes:
    """Return the figure of an entry, drawn from its stored configuration and numbers, as PNG."""
    import pandas as pd

    from quadsim.simulator.figures.panels import DPI
    from quadsim.simulator.figures.rates_figure import rates_figure
    from quadsim.simulator.figures.sweep_figures import steps_figure
    from quadsim.simulator.figures.winner_figure import winner_figure
    from quadsim.simulator.sweeps.config.families import config_from_json, family_of, imported

    config = config_from_json(json.loads((STORE / f"{entry['name']}.json").read_text(encoding="utf-8")))
    family = family_of(config)
    known = {
        "steps": steps_figure,
        "rates": rates_figure,
        "winner": winner_figure,
        family.figure: imported(family.draw),
    }
    table = pd.read_csv(STORE / f"{entry['name']}.csv")
    for column in table.columns.intersection(["panel", "winner", "next"]):  # an empty text is no missing number
        table[column] = table[column].astype(object).where(table[column].notna(), "")
    figure = known[entry["figure"]].draw(SimpleNamespace(config=config, histogram=None, guarantees=None), table)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    return out.getvalue()


def _blank() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 6), "white").save(out, "PNG")
    return out.getvalue()


def _small(picture: bytes) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((_WIDEST, _WIDEST), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.quantize(64).save(out, "PNG")
    return out.getvalue()


def _claims() -> list[dict[str, Any]]:
    """The claims that have a figure of a full run."""
    rows = json.loads((DOCS / "claims.json").read_text(encoding="utf-8"))["claims"]
    return [row | {"figure": f"claims/{row['id']}.png"} for row in rows if (DOCS / f"claims/{row['id']}.png").is_file()]


def _figure(target: str, name: str, title: str, text: str, command: str) -> str:
    plain = re.sub(r"[\[\]\"]", "", title)
    return (
        f'<figure markdown="1">\n[![{plain}](figures/small/{name}.png)]({target})\n\n'
        f'<figcaption markdown="1">\n**{title}.** {text}\n\n```sh\n{command}\n```\n</figcaption>\n</figure>'
    )


def _grid(figures: list[str]) -> str:
    return '<div class="gallery" markdown="1">\n' + "\n".join(figures) + "\n</div>"


def _store(entry: dict[str, str]) -> None:
    """Run the command of an entry, and store its configuration and the numbers of its figure."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*shlex.split(entry["command"]), "--out", folder, "--quiet"], check=True)
        shutil.copy(Path(folder) / "config.json", STORE / f"{entry['name']}.json")
        numbers = pd.read_csv(Path(folder) / "figures" / f"{entry['figure']}.csv")
        numbers.to_csv(
            STORE / f"{entry['name']}.csv", index=False, float_format="%.5g"
        )  # a thumbnail shows no more digits


if __name__ == "__main__":
    chosen = sys.argv[1:] or [entry["name"] for entry in ENTRIES]
    for one in ENTRIES:
        if one["name"] in chosen:
            _store(one)
