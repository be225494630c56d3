"""Rules and theorems as text and as plain data."""

from typing import Any

import numpy as np

from quadsim.cli.text.narrow import wrapped
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import LEARNING_RATE, Hyperparameter, Rule
from quadsim.theory import Theorem, prove

__all__ = [
    "kernel_text",
    "rule_record",
    "rule_text",
    "rules_table",
    "theorem_record",
    "theorem_text",
    "theorems_for_text",
    "theorems_table",
]


def rules_table() -> str:
    """A line for every rule: name, kind, summary."""
    width = max(map(len, RULES))
    lines = [wrapped(f"{rule.name:{width}}  {rule.kind:9}  {rule.summary}", width + 13) for rule in RULES.values()]
    kinds = "linear: closed form exists; separable: acts within a block; global: needs the whole gradient."
    return "\n".join([*lines, "", wrapped(kinds)])


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


_SHOWN_ON_GPU = 16  # a tile; smaller blocks are written out coordinate by coordinate


def kernel_text(rule: Rule | None, device: str) -> str:
    """The generated kernel of a rule in float64, for blocks of 8 coordinates on a CPU and of 16 and more on a GPU.

    Raises:
        ValueError: no rule, a rule without a kernel, or another device.
    """
    from quadsim.simulator.engines.kernels.lowering import why_no_program
    from quadsim.simulator.support.checks import check_choice

    check_choice("source", device, ("cpu", "gpu"))
    if rule is None:
        raise ValueError(
            f"optimizer must be named with --source {device}, got none; as in quadsim rules adam --source cpu."
        )
    reason = why_no_program(rule)
    if reason is not None:
        raise ValueError(f"optimizer with a kernel must act within blocks, got {rule.name} ({reason}); choose another.")
    if device == "gpu":
        from quadsim.simulator.engines.kernels.gpu_source import gpu_source

        return gpu_source(rule, (_SHOWN_ON_GPU,))
    from quadsim.simulator.engines.kernels.cpu_run import kernel_source

    return kernel_source(rule, (8,))


def theorem_record(theorem: Theorem, *, discharge: bool) -> dict[str, Any]:
    """A theorem as plain data; with `discharge` every proof step is proved anew and carries its outcome."""
    steps = []
    for step in theorem.proof:
        record: dict[str, Any] = {
            "claim": str(step.claim),
            "because": step.because,
            "given": [str(g) for g in step.given],
        }
        if discharge:
            found = prove(step)
            record |= {"status": found.status, "by": found.by, "seconds": round(found.seconds, 4)}
            record |= {"counter_example": found.counter_example} if found.counter_example else {}
        steps.append(record)
    return {
        "name": theorem.name,
        "rules": list(theorem.rules),
        "kind": theorem.kind,
        "direction": theorem.direction,
        "statement": theorem.statement,
        "claim": str(theorem.relation),
        "bound": str(theorem.bound),
        "symbols": {str(symbol): meaning for symbol, meaning in theorem.symbols.items()},
        "hypotheses": [hypothesis.text for hypothesis in theorem.hypotheses],
        "tight": theorem.tight,
        "source": theorem.source,
        "steps": steps,
    }


def theorems_table(records: list[dict[str, Any]]) -> str:
    """A line for every theorem."""
    width = max(len(record["name"]) for record in records)
    lines = [
        wrapped(
            f"{r['name']:{width}}  {r['direction']:5} {r['kind']:11}  {len(r['steps']):2} steps  {_rules(r)}", width + 2
        )
        for r in records
    ]
    return "\n".join([*lines, "", "quadsim theorems NAME shows one and proves its steps."])


def theorems_for_text(rule: str, records: list[dict[str, Any]], open_questions: list[str]) -> str:
    """What speaks of one rule, each with its hypotheses, and what is open."""
    if not records:
        lines = [f"No theorem here speaks of {rule} alone; covariance-identity holds along every run."]
    else:
        lines = [f"Theorems on {rule}:", ""]
    for record in records:
        wanted = "; ".join(record["hypotheses"]) or "constant rate, no noise"
        lines.append(wrapped(f"  {record['name']} ({record['direction']} bound, {record['kind']}): {wanted}", 6))
        lines.append(wrapped(f"      tight: {record['tight'] or 'not known'}", 8))
    lines += ["", "Open:", *(wrapped(f"  {text}.", 4) for text in open_questions)] if open_questions else []
    return "\n".join([*lines, "", "quadsim theorems NAME shows one and proves its steps."])


def _rules(record: dict[str, Any]) -> str:
    return ", ".join(record["rules"]) or "any rule"


def theorem_text(record: dict[str, Any]) -> str:
    """One theorem with its proof."""
    lines = [f"{record['name']} ({record['direction']} bound, {record['kind']}) for {_rules(record)}", ""]
    lines += ["statement (LaTeX):", f"  {record['statement']}", "claim:", f"  {record['claim']}"]
    lines += [f"    {symbol}: {meaning}" for symbol, meaning in record["symbols"].items()]
    lines += ["hypotheses:", *(f"  {text}" for text in record["hypotheses"] or ["constant rate, no noise"])]
    lines += [f"tight: {record['tight'] or 'not known'}", f"source: {record['source']}", "", "proof:"]
    for number, step in enumerate(record["steps"], 1):
        how = f"{step['status']} by {step['by']}" if step["status"] != "cited" else f"cited: {step['by']}"
        lines.append(f"  {number}. {step['because'] if step['status'] != 'cited' else step['claim']}")
        if step["status"] != "cited":
            given = f"  given {', '.join(step['given'])}" if step["given"] else ""
            lines.append(f"     {step['claim']}{given}")
        lines.append(f"     [{how}, {step['seconds']:.3f} s]")
        if "counter_example" in step:
            lines.append(f"     counter-example: {step['counter_example']}")
    return "\n".join(lines)


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
