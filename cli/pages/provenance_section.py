"""The end of every report: where the numbers come from, and how to have them again."""

from typing import Any

from quadsim.cli.pages.page import Code, Facts, Items, Section, Text
from quadsim.cli.pages.reading import mapping, number, shown_command, text

__all__ = ["again_section", "provenance_section"]

_KNOWN = ("command", "versions", "platform", "wall_seconds", "finished")


def provenance_section(manifest: dict[str, Any]) -> Section:
    """Command, versions, machine, time: what the folder's manifest says."""
    facts = [("Command", shown_command(manifest))]
    facts += [(key.replace("_", " ").capitalize(), text(value)) for key, value in manifest.items() if key not in _KNOWN]
    versions = mapping(manifest.get("versions"))
    facts.append(("Versions", ", ".join(f"{name} {text(value)}" for name, value in versions.items())))
    facts.append(("Platform", text(manifest.get("platform"))))
    seconds = number(manifest.get("wall_seconds"))
    facts.append(("Time taken", "" if seconds != seconds else f"{seconds:.3g} s"))
    facts.append(("Finished", text(manifest.get("finished"))))
    shown = tuple((text(name, 60), said) for name, said in facts if said)
    return Section("Where this comes from", (Facts(shown) if shown else Text("The folder does not say."),))


def again_section(commands: tuple[str, ...], files: tuple[str, ...], note: str = "") -> Section:
    """Commands, typed in the folder of the report, and what the folder holds."""
    blocks = (Text(f"In the folder of this report{': ' if not note else '; '}{note}"), Code("\n".join(commands)))
    return Section("How to run it again", (*blocks, Text("The folder holds:"), Items(files)))
