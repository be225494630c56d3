"""The command `quadsim bench`: time quadsim against torch and JAX."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quadsim.cli.commands import bench_options as options
from quadsim.cli.console import (
    JsonOption,
    StyleOption,
    comma_list,
    deliver,
    given_path,
    number,
    progress_lines,
    usage_errors,
)
from quadsim.cli.text.numbers import spread

if TYPE_CHECKING:
    from quadsim.cli.bench import Comparison, Slope, Work

__all__ = ["bench", "spread"]

_BLOCKS = {3: 3, 30: 4, 64: 8}
_STEPS = {3: 1000, 30: 500, 64: 200}


def bench(
    rules: options.Rules = "adam,signsgd,gd",
    block_sizes: options.BlockSizes = "3,30,64",
    problems: options.Problems = 32,
    settings: options.Settings = 64,
    dtype: options.Dtype = "",
    device: options.Device = "cpu",
    rounds: options.Rounds = 5,
    ways: options.Ways = "",
    steps: options.Steps = None,
    batch: options.Batch = 0,
    memory: options.Memory = False,
    slopes: options.Slopes = False,
    main_job: options.MainJobOption = False,
    model: options.Model = "",
    tokens: options.Tokens = 64,
    instances: options.Instances = None,
    compile: options.Compile = False,
    out: options.Out = None,
    style: StyleOption = "quadsim",
    as_json: JsonOption = False,
    quiet: options.Quiet = False,
) -> None:
    """Time the same work with torch, JAX (extra bench) and quadsim.

    All run in turn in one process, and ratios of their times are reported.

    Example: quadsim bench --rules adam --block-sizes 3,30 --rounds 3

    Example: quadsim bench --rules adam --block-sizes 8 --batch 8

    Example: quadsim bench --model transformer --tokens 64 --compile

    Example: quadsim bench --main-job --rounds 3
    """
    asked = dict(locals())
    with usage_errors():
        _check_together(asked)
        out = given_path("out", out)
        if out is not None:
            from quadsim.simulator.sweeps.run.folder import check_folder

            name = "bench-main-job.json" if main_job else "bench-model.json" if model else "bench.json"
            check_folder(out, "an earlier bench", name)
    if main_job:
        _measure_main_job(rounds, out, as_json=as_json, quiet=quiet)
        return
    if model:
        from quadsim.cli.bench.model_report import bench_model

        bench_model(
            model, rules=rules, ways=ways, tokens=tokens, instances=instances, compiled=compile, steps=steps,
            dtype=dtype or "float32", device=device, rounds=rounds, out=out, as_json=as_json, quiet=quiet,
        )  # fmt: skip
        return
    with usage_errors():
        works, beside = _works(
            rules, block_sizes, ways, problems=problems, settings=settings, steps=steps, dtype=dtype or "float64",
            device=device, batch=batch,
        )  # fmt: skip
    progress = progress_lines(quiet=quiet or as_json)
    _time(works, beside, rounds, out, memory=memory, slopes=slopes, as_json=as_json, progress=progress)


_ALWAYS = ("rounds", "out", "style", "as_json", "quiet")
_TAKEN = {
    "--main-job": ("main_job", *_ALWAYS),
    "--model": ("model", "rules", "ways", "tokens", "instances", "compile", "steps", "dtype", "device", *_ALWAYS),
}
"""The options that have an effect with these; the others would be ignored, and so are refused."""


def _check_together(asked: dict[str, Any]) -> None:
    """Check that every option has an effect beside the others, and the number of rounds.

    Raises:
        ValueError: an option that belongs to another work, or no round.
    """
    from inspect import signature

    from quadsim.simulator.support.checks import check_count

    check_count("rounds", asked["rounds"])
    given = [name for name, usual in signature(bench).parameters.items() if asked[name] != usual.default]
    work = "--main-job" if asked["main_job"] else "--model" if asked["model"] else ""
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if work and name not in _TAKEN[work]:
            raise ValueError(f"{option} must be left out with {work}, got {asked[name]!r}; it has no effect there.")
        if not work and name in ("tokens", "instances", "compile"):
            raise ValueError(
                f"{option} must come with --model, got {asked[name]!r} without it; add --model transformer."
            )


def _measure_main_job(rounds: int, out: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Measure the main job, write the file and print what was measured."""
    from dataclasses import asdict

    from quadsim.cli.bench.main_job import MAIN_JOB, main_job_text, measure_main_job
    from quadsim.cli.text.environment import environment

    found = measure_main_job(rounds, progress_lines(quiet=quiet or as_json))
    record = {
        "environment": environment(),
        "command": f"quadsim {' '.join(MAIN_JOB)}",
        "runs": [asdict(one) for one in found],
    }
    deliver(record, main_job_text(found), out, ["bench-main-job.json"], as_json=as_json)


def _works(
    rules: str, block_sizes: str, ways: str, *, problems: int, settings: int, steps: int | None, dtype: str, device: str,
    batch: int,
) -> "tuple[list[Work], list[str]]":  # fmt: skip
    """What is timed: a work for every rule and block size, and the ways to run beside ours.

    Raises:
        ValueError: an option out of range.
    """
    from quadsim.cli.bench import WAYS, Work
    from quadsim.cli.bench.ways import RULES_BENCHED
    from quadsim.simulator.support.checks import check_choice, check_count
    from quadsim.simulator.support.devices import check_device, resolve_dtype

    chosen = [check_choice("rules", name, RULES_BENCHED) for name in dict.fromkeys(comma_list(rules, str))]
    beside = [check_choice("ways", name, WAYS) for name in dict.fromkeys(comma_list(ways, str))] or list(WAYS)
    sizes = [check_count("block size", size) for size in dict.fromkeys(comma_list(block_sizes, number))]
    if not chosen or not sizes:
        raise ValueError("rules and block sizes must hold at least one item each, got none; leave the option out.")
    check_count("batch", batch, 0)
    if steps is not None and (check_count("steps", steps) % 50):
        raise ValueError(f"steps must be a multiple of 50, got {steps}; use {steps // 50 * 50 + 50}.")
    resolve_dtype(dtype)
    check_device(device)
    works = [
        Work(
            rule,
            _BLOCKS.get(size, 4),
            size,
            problems=check_count("problems", problems),
            settings=check_count("settings", settings),
            # On a GPU a short run would measure what a call costs, not the kernels.
            steps=steps or _STEPS.get(size, 500) * (1 if device == "cpu" else 10),
            dtype=dtype,
            device=device,
            batch=batch,
        )
        for rule in chosen
        for size in sizes
    ]
    return works, beside


def _time(
    works: "list[Work]", beside: list[str], rounds: int, out: Path | None, *, memory: bool, slopes: bool, as_json: bool,
    progress: Callable[[str], None],
) -> None:  # fmt: skip
    """Time the works, write the files and print the table."""
    from quadsim.cli.bench import compare, compare_closed_form, measure_slope

    found = [compare(work, rounds=rounds, ways=beside, memory=memory, progress=progress) for work in works]
    growth: list[Slope] = []
    for quantity in ("problems", "settings", "steps", "block_size") if slopes else ():
        progress(f"slope in {quantity}")
        growth.append(measure_slope(works[0], quantity, rounds=min(rounds, 3)))
    progress("closed form: 10^9 steps against 10^3")
    closed = compare_closed_form(rounds=rounds).tolist()
    record = document(found, growth, closed)

    def draw(folder: Path) -> None:
        from quadsim.cli.bench.figure import save_figure

        save_figure(found, folder)

    names = ["bench.json", "bench.png", "bench.pdf"]
    deliver(record, text(found, growth, closed), out, names, as_json=as_json, draw=draw)


def document(found: "list[Comparison]", growth: "list[Slope]", closed: list[float]) -> dict[str, Any]:
    """Return the result as plain data."""
    import math
    from dataclasses import asdict

    from quadsim.cli.text.environment import environment

    def finite(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    return {
        "environment": environment(),
        "works": [
            {
                "work": asdict(one.work),
                "seconds": {name: times.tolist() for name, times in one.seconds.items()},
                "ratios": {name: one.ratios(name).tolist() for name in one.seconds},
                "left_out": dict(one.left_out),
                "peak_memory_bytes": {name: finite(size) for name, size in one.memory.items()},
                "difference": {name: finite(d) for name, d in one.difference.items()},
                "run_steps_per_second": one.run_steps,
                "share_of_ceiling": [finite(share) for share in one.shares],
                "ceilings": [asdict(ceiling) for ceiling in one.ceilings],
            }
            for one in found
        ],
        "slopes": [asdict(slope) for slope in growth],
        "closed_form_1e9_over_1e3_steps": closed,
    }


def text(found: "list[Comparison]", growth: "list[Slope]", closed: list[float]) -> str:
    """Return the result as a table with one row per work and one column per way."""
    import numpy as np

    from quadsim.cli.bench import WAYS
    from quadsim.cli.text.narrow import aligned
    from quadsim.simulator.support.memory import memory_text

    ways = [name for name in WAYS if name != "ours" and any(name in one.seconds for one in found)]
    header = ("work", "M x K x steps", *ways, "run-steps/s", "share of ceiling")
    rows = [header]
    for one in found:
        work = one.work
        cells = [spread(one.ratios(name)) if name in one.seconds else "-" for name in ways]
        share = "-" if work.batch else spread(one.shares)
        rows.append((
            work.name,
            f"{work.problems} x {work.settings} x {work.steps}",
            *cells,
            f"{one.run_steps:.2g}",
            share,
        ))
    lines = aligned(rows, (0, 1))
    lines += [
        "",
        "Columns of ways: their time over ours, median of the rounds [least, largest]; all take turns in each round, after a run",
        "that compiles. torch batched: with one thread or with all, whichever is faster. torch.optim loop: 2 runs, scaled up.",
        "run-steps/s: steps of single runs by ours. Ceiling: 1/(2 P_l/matrix-product rate + 1/root-and-divide rate) coordinate-",
        "steps a second (roots for Adam only), measured in each round; a fused update can hide one behind the other.",
    ]
    left_out = {f"{name}: {reason}" for one in found for name, reason in one.left_out.items()}
    lines += [f"Left out: {'; '.join(sorted(left_out))}."] if left_out else []
    for one in found:
        if one.memory:
            sizes = ", ".join(f"{name} {memory_text(max(size, 0.0))}" for name, size in one.memory.items())
            lines.append(f"Peak memory, {one.work.name}: {sizes}.")
    for slope in growth:
        points = ", ".join(f"{v}: {s:.3g} s" for v, s in zip(slope.values, slope.seconds, strict=True))
        lines.append(f"Time of ours grows with {slope.quantity}^{slope.slope:.2f} ({points}).")
    lines.append(f"Closed form, GD: 10^9 steps take {spread(np.array(closed))} times as long as 10^3.")
    return "\n".join(lines)
