"""The end of every report: the origin of the numbers, and the commands that reproduce them."""

import math
from typing import Any

from quadsim.cli.pages.page import Code, Facts, Items, Section, Text
from quadsim.cli.pages.reading import mapping, number, shown_command, text

__all__ = ["again_section", "provenance_section"]

_KNOWN = ("command", "versions", "platform", "wall_seconds", "finished")


def provenance_section(manifest: dict[str, Any], settings: dict[str, Any] | None = None) -> Section:
    """Return the section with command, settings, versions, machine and time, from the manifest of the folder."""
    command = shown_command(manifest)
    rest = {key: value for key, value in ((settings or {}) | manifest).items() if key not in _KNOWN}
    facts = [(key.replace("_", " ").capitalize(), text(value)) for key, value in rest.items()]
    versions = mapping(manifest.get("versions"))
    facts.append(("Versions", ", ".join(f"{text(name, 60)} {text(value, 60)}" for name, value in versions.items())))
    facts.append(("Platform", text(manifest.get("platform"))))
    seconds = number(manifest.get("wall_seconds"))
    facts.append(("Time taken", "" if math.isnan(seconds) else f"{seconds:.3g} s"))
    facts.append(("Finished", text(manifest.get("finished"))))
    shown = tuple((text(name, 60), said) for name, said in facts if said)
    blocks = (*((Code(command),) if command else ()), *((Facts(shown),) if shown else ()))
    return Section("Where this comes from", blocks or (Text("The folder does not say."),))


def again_section(commands: tuple[str, ...], files: tuple[str, ...], note: str) -> Section:
    """Return the section with the commands that reproduce the result, and the list of the folder's files."""
    return Section(
        "How to run it again", (Text(note), Code("\n".join(commands)), Text("The folder holds:"), Items(files))
    )
