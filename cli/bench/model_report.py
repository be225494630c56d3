"""Report of `quadsim bench --model`: training many instances against a Python loop over modules."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadsim.cli.console import comma_list, deliver, progress_lines, usage_errors
from quadsim.cli.text.numbers import spread

if TYPE_CHECKING:
    from quadsim.cli.bench import ModelComparison, ModelWork

__all__ = ["bench_model"]

_STEPS = {"cpu": 100, "cuda": 400}


def bench_model(
    model: str,
    *,
    rules: str,
    ways: str,
    tokens: int,
    instances: int | None,
    compiled: bool,
    steps: int | None,
    dtype: str,
    device: str,
    rounds: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Check, time, print; the options are those of `bench`."""
    from quadsim.cli.bench import compare_models

    with usage_errors():
        work, beside = _work(
            model, rules=rules, ways=ways, tokens=tokens, instances=instances, compiled=compiled, steps=steps,
            dtype=dtype, device=device, rounds=rounds,
        )  # fmt: skip
    found = compare_models(work, rounds=rounds, ways=beside, progress=progress_lines(quiet=quiet or as_json))
    deliver(document(found), text(found), out, ["bench-model.json"], as_json=as_json)


def _work(
    model: str, *, rules: str, ways: str, tokens: int, instances: int | None, compiled: bool, steps: int | None,
    dtype: str, device: str, rounds: int,
) -> "tuple[ModelWork, list[str]]":  # fmt: skip
    """What is timed, and the ways to run beside ours.

    Raises:
        ValueError: an option out of range.
    """
    from quadsim.cli.bench import MODEL_RULES, MODEL_SIZES, MODEL_WAYS, ModelWork
    from quadsim.simulator.support.checks import check_choice, check_count
    from quadsim.simulator.support.devices import check_device, resolve_dtype

    check_choice("model", model, ("transformer",))
    rule = check_choice("rules", next(iter(comma_list(rules, str)), ""), MODEL_RULES)
    beside = [check_choice("ways", name, MODEL_WAYS) for name in dict.fromkeys(comma_list(ways, str))] or list(
        MODEL_WAYS
    )
    if not compiled:
        beside = [name for name in beside if name != "ours compiled"]
    if tokens not in MODEL_SIZES:
        raise ValueError(f"tokens must be one of {', '.join(map(str, MODEL_SIZES))}, got {tokens}; use 64.")
    resolve_dtype(dtype)
    kind = check_device(device).split(":")[0]
    work = ModelWork(
        rule,
        tokens,
        instances=check_count("instances", (64 if kind == "cpu" else 4096) if instances is None else instances),
        steps=check_count("steps", _STEPS[kind] if steps is None else steps),
        dtype=dtype,
        device=device,
    )
    check_count("rounds", rounds)
    return work, beside


def document(found: "ModelComparison") -> dict[str, Any]:
    """Return the result as plain data."""
    import math
    from dataclasses import asdict

    from quadsim.cli.text.environment import environment

    def finite(values: "dict[str, float]") -> dict[str, float | None]:
        return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}

    return {
        "environment": environment(),
        "work": asdict(found.work),
        "model": str(found.work.problem),
        "seconds": {name: times.tolist() for name, times in found.seconds.items()},
        "times_the_module_loop": {name: found.speed(name).tolist() for name in found.seconds},
        "instance_steps_per_second": {name: found.instance_steps(name) for name in found.seconds},
        "left_out": dict(found.left_out),
        "peak_memory_bytes": finite(dict(found.memory)),
        "difference": finite(dict(found.difference)),
    }


def text(found: "ModelComparison") -> str:
    """Return the result as a table with one row per way."""
    from quadsim.simulator.support.memory import memory_text

    work = found.work
    rows = [("way", "times the module loop", "instance-steps/s", "peak memory", "first losses differ by")]
    for name in found.seconds:
        difference = f"{found.difference[name]:.1g}" if name in found.difference else "-"
        memory = memory_text(max(found.memory[name], 0.0)) if found.memory[name] == found.memory[name] else "-"
        rows.append((name, spread(found.speed(name)), f"{found.instance_steps(name):.3g}", memory, difference))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [
        f"{work.problem.model} on {work.problem.task}, {work.problem.dimension} parameters",
        f"{work.name}, {work.instances} instances, {work.steps} steps, {work.device}",
        "",
        *table,
        "",
        "Times the module loop: its time over this way's, median of the rounds [least, largest]; all take turns in each round,",
        "after a run that compiles. Module loop: 2 instances, scaled up; where it runs on a CPU, with one thread or with all,",
        "whichever is faster. Peak memory: beyond data and libraries, on a CPU in a process of its own.",
    ]
    lines += [f"Left out: {name}: {reason}." for name, reason in found.left_out.items()]
    return "\n".join(lines)
