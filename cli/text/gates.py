"""What the gates `quadsim verify --instances` and `--mutants` found: as plain data, and as tables in the terminal."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadsim.theory.verifying.mutants import MutantReport
    from quadsim.theory.verifying.stress import Stressed

__all__ = ["mutants_document", "mutants_table", "stress_document", "stress_table"]


def _totals(found: "Sequence[Stressed]") -> dict[str, Any]:
    return {
        "instances": sum(one.instances for one in found),
        "against": dict(sum((one.against for one in found), Counter())),
        "untested": sum(sum(one.untested.values()) for one in found),
    }


def stress_document(found: "Sequence[Stressed]") -> dict[str, Any]:
    """Return what became of random instances, in total and by theorem, as plain data."""
    from quadsim.theory.verifying.stress import VARIANTS

    return {
        **_totals(found),
        "theorems": [
            {
                "name": one.name,
                "tested": {variant: one.tested[variant] for variant in VARIANTS},
                "against": dict(one.against),
                "untested": [
                    {"variant": variant, "reason": reason, "instances": count}
                    for (variant, reason), count in sorted(one.untested.items())
                ],
                "complaints": one.complaints,
            }
            for one in found
        ],
    }


def stress_table(found: "Sequence[Stressed]") -> str:
    """Return the table of instances by theorem and variant, why some tested nothing, and the totals, as text."""
    from quadsim.cli.text.narrow import aligned
    from quadsim.theory.verifying.stress import VARIANTS

    total = _totals(found)
    rows: list[tuple[str, ...]] = [("theorem", *VARIANTS, "against", "untested")]
    for one in found:
        counts = (*(one.tested[variant] for variant in VARIANTS), sum(one.against.values()), sum(one.untested.values()))
        rows.append((one.name, *(str(count) for count in counts)))
    why: Counter[tuple[str, str]] = sum((one.untested for one in found), Counter())
    lines = [*aligned(rows, (0,)), ""]
    lines += [complaint for one in found for complaint in one.complaints]
    lines += [f"untested, {variant}: {count:,} instances: {reason}" for (variant, reason), count in why.most_common()]
    against = ", ".join(f"{count:,} {word}" for word, count in total["against"].items()) or "none"
    lines.append(
        f"{total['instances']:,} instances met the hypotheses and tested a theorem; against a theorem or the judge: {against}; "
        f"{total['untested']:,} more tested nothing."
    )
    return "\n".join(lines)


def mutants_document(found: "MutantReport") -> dict[str, Any]:
    """Return what became of mutants as plain data."""
    return {
        "tried": dict(found.tried),
        "caught": dict(found.caught),
        "argued": list(found.argued),
        "survived": list(found.holes),
    }


def mutants_table(found: "MutantReport") -> str:
    """Return the table of mutants by what they change, and those that survive, as text."""
    from quadsim.cli.text.narrow import aligned
    from quadsim.theory.verifying.mutants import KINDS

    rows = [("changed", "mutants", "caught")]
    rows += [(kind, str(found.tried.get(kind, 0)), str(found.caught.get(kind, 0))) for kind in KINDS]
    rows.append(("all", str(sum(found.tried.values())), str(sum(found.caught.values()))))
    lines = [*aligned(rows, (0,)), "", f"{len(found.argued)} survive with an argument why they are no mutants:"]
    lines += [f"  {line}" for line in found.argued]
    lines += [f"{len(found.holes)} survive without one:", *(f"  {line}" for line in found.holes)]
    return "\n".join(lines)
