"""Documents as verify and reproduce leave them, and texts that must never reach a page as they are."""

import json

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"

MANIFEST = {
    "command": ["quadsim", "verify", "--out", "a b"],
    "versions": {"python": "3.11", "quadsim": "0.1.0"},
    "platform": "somewhere",
    "wall_seconds": 12.5,
    "finished": "2026-11-22T12:00:00+0000",
}


def report(name="gd-upper", verdict="proved", **more):
    steps = [
        {
            "claim": "a symmetric H has an orthonormal basis",
            "because": "x",
            "status": "cited",
            "by": "spectral theorem",
        },
        {"claim": "Eq(-eta*lambda + 1, -eta*lambda + 1)", "because": "the rule gd", "status": "proved", "by": "SymPy"},
    ]
    counts = {"verified": 10, "holds": 90, "refuted": 0, "undecided": 0, "not applicable": 7, "untested": 0}
    common = {"name": name, "verdict": verdict, "steps": steps, "instances": 100, "verdicts": counts}
    seen = {"worst_margin": 0.9999, "tightness": 0.5, "tightest": "eigenvalues 1, 2", "complaints": [], "notes": []}
    return common | seen | more


def verify_document(*reports, **more):
    claim = {"name": "gd-lower", "claim": "no square", "verdict": "refuted", "counter_example": "H = diag(3, 1)"}
    asked = {"names": [], "problems": 50, "seed": 0, "exact": False, "search": None}
    found = list(reports) or [report(), report("sign-rate", tightness=None)]
    return {
        "theorems": found,
        "false_claims": [claim],
        "asked": asked,
        "interrupted": False,
        "manifest": MANIFEST,
    } | more


def claim(name="fewer-steps", verdict="shown", **more):
    asked = [
        {
            "measure": "ratio",
            "control": "",
            "name": "ratio",
            "null": 1,
            "effect": 2,
            "wanted": "above 1; smallest effect 2",
            "because": "half an order",
        }
    ]
    measured = [
        {
            "name": "ratio",
            "value": 14.2,
            "low": 11.9,
            "high": 16.8,
            "unit": "times",
            "seeds": 20,
            "text": "GD over Adam",
        },
        {"name": "never", "value": None, "low": None, "high": None, "unit": "", "seeds": 20, "text": "not reached"},
        {
            "name": "other",
            "value": 3.0,
            "low": 2.0,
            "high": 4.0,
            "unit": "times",
            "seeds": 20,
            "text": "GD over SignSGD",
        },
    ]
    return {
        "id": name,
        "claim": "Adam needs fewer steps than SGD.",
        "group": "Zhang et al.",
        "source": "arXiv 2402.16788, Figure 5",
        "fidelity": ["quadratics in place of networks"],
        "history": [
            {"date": "2026-01-02", "criterion": "9f86d0", "before": "three seeds", "change": "twice the seeds"}
        ],
        "criterion": {"text": "the ratio is above 1", "conditions": asked, "proofs": ["gd-lower"], "hash": "9f86d0"},
        "verdict": verdict,
        "told": verdict,
        "reason": "the interval lies above 2",
        "measured": measured,
        "conditions": [
            asked[0]
            | measured[0]
            | {"name": "ratio", "state": "shown", "p": 1e-4, "holm": 2e-4, "power": 0.93, "why": "power 0.93"}
        ],
        "proofs": [{"statement": "gd-lower", "state": "proved", "detail": "4 steps proved"}],
        "reach": {
            "variable": "classes C",
            "law": "1/C (theory, section 10)",
            "caption": "how far",
            "figure": None,
            "onsets": [{"curve": "share", "onset": 12.0, "low": 10.0, "high": None, "text": "12 [10, beyond 1000]"}],
        },
        "notes": ["twenty seeds"],
        "figure": None,
        "tables": [f"{name}/runs.parquet"],
        "seconds": 3.25,
    } | more


def claims_document(*claims, **more):
    return {"claims": list(claims) or [claim()], "size": "quick", "manifest": MANIFEST} | more


def write(folder, name, document):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))
    return folder
