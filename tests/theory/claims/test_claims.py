"""The papers' claims: criteria, verdicts, and a reduced form of every experiment."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.pages.claims import claims_page
from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models import Partition
from quadsim.theory.claims import CLAIMS, VERDICTS, Claim, Condition, Found, Measured, Setting, load_claims, reproduce
from quadsim.theory.claims.claim import measured_median, measured_share
from quadsim.theory.claims.networks import JS0_NOT_VALID
from quadsim.theory.claims.running import draw


def made_up(low: float, high: float, **changes) -> Claim:
    """A claim that 'it' is at least 1, whose experiment measures an interval."""
    claim = Claim(
        id="made-up",
        claim="It is at least 1.",
        group="nobody",
        source="nowhere",
        anywhere=True,
        conditions=(Condition("it", ">=", 1, "so claimed"),),
        method="none",
        experiment=lambda setting: Found(
            [Measured("it", (low + high) / 2, low, high, 9)], {"t": pd.DataFrame({"x": [1]})}
        ),
        draw=lambda tables: None,
        caption="",
    )
    return replace(claim, **changes)


@pytest.mark.parametrize(
    ("low", "high", "anywhere", "verdict"),
    [
        (1.0, 2.0, True, "reproduced"),
        (0.5, 2.0, True, "not at this scale"),
        (0.1, 0.9, True, "refuted"),
        (0.1, 0.9, False, "not at this scale"),
    ],
)
def test_the_whole_interval_decides(low, high, anywhere, verdict):
    claim = made_up(low, high, anywhere=anywhere)
    assert claim.judge(claim.experiment(Setting()).measured).verdict == verdict


@pytest.mark.parametrize("verdict", ["withdrawn", "estimate"])
def test_conditions_that_decide_nothing_give_no_verdict(verdict):
    claim = made_up(1.0, 2.0, unjudged="its instrument fails its control", unjudged_as=verdict)
    found = claim.judge(claim.experiment(Setting()).measured)
    assert (found.verdict, found.reason, found.states) == (verdict, "its instrument fails its control", ("holds",))


def test_js0_fails_its_positive_control():
    """Scales spread further are more heterogeneity, but JS0 falls: the reason why its claims are withdrawn, and its numbers."""
    blocks, instances = 14, 20
    shapes = np.random.default_rng(0).lognormal(0, 1.5, (blocks, instances, 40))
    shapes /= shapes.max(axis=-1, keepdims=True)
    partition = Partition("blocks", tuple(f"block {i}" for i in range(blocks)), (40,) * blocks)
    found = []
    for spread in (1, 1e2, 1e4, 1e6):
        scales = spread ** (np.arange(blocks) / (blocks - 1))
        spectra = BlockSpectra.exactly(
            partition, [s * shape for s, shape in zip(scales, shapes, strict=True)], np.zeros(instances)
        )
        found.append(float(np.median(mean_over_pairs(jensen_shannon(spectra)))))
    assert found == sorted(found, reverse=True)
    assert f"from {found[0]:.2f} to {found[-1]:.2f} in a control".replace("0.", ".") in JS0_NOT_VALID
    judged = {name for name, claim in CLAIMS.items() if claim.unjudged == JS0_NOT_VALID}
    assert judged == {"js0-models", "js0-predicts-gap", "mlp-mixer", "pretraining"}


def test_some_conditions_make_partly():
    claim = made_up(2.0, 3.0, conditions=(Condition("it", ">=", 1, ""), Condition("it", "<=", 1, "")))
    found = claim.judge(claim.experiment(Setting()).measured)
    assert (found.verdict, found.states) == ("partly", ("holds", "fails"))
    assert "fails: it 2.5 [2, 3], n = 9 (wanted: at most 1)" in found.reason


def test_an_experiment_that_does_not_measure_is_an_error():
    claim = made_up(1, 2)
    for measured in ([], [Measured("it", math.nan)]):
        with pytest.raises(ValueError, match="experiment made-up must measure 'it'"):
            claim.judge(measured)


REWORDED = {
    "claim": "It is at least one.",
    "group": "somebody",
    "source": "somewhere",
    "method": "some",
    "caption": "what is drawn",
    "conditions": (Condition("it", ">=", 1.0, "another reason"),),
}
OTHERWISE = {
    "id": "another",
    "anywhere": False,
    "threshold": {"conditions": (Condition("it", ">=", 0.9, "so claimed"),)},
    "comparison": {"conditions": (Condition("it", "<=", 1, "so claimed"),)},
    "measure": {"conditions": (Condition("that", ">=", 1, "so claimed"),)},
    "one more": {"conditions": (Condition("it", ">=", 1, "so claimed"), Condition("that", ">=", 1, ""))},
}


@pytest.mark.parametrize("name", REWORDED)
def test_rewording_leaves_the_fingerprint_of_a_claim(name):
    assert made_up(1, 2, **{name: REWORDED[name]}).digest() == made_up(0, 9).digest()  # nor is the result a part of it


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_criterion_has_another_fingerprint(name):
    change = OTHERWISE[name] if isinstance(OTHERWISE[name], dict) else {name: OTHERWISE[name]}
    assert made_up(1, 2, **change).digest() != made_up(1, 2).digest()


def test_another_size_or_seed_has_another_fingerprint():
    settings = (Setting("full"), Setting("quick"), Setting("full", 1))
    assert len({made_up(1, 2).digest(setting) for setting in settings}) == 3
    assert len({claim.digest() for claim in CLAIMS.values()}) == len(CLAIMS)


def test_intervals_cover_as_often_as_they_say():
    draw = np.random.default_rng(0)
    normal = draw.standard_cauchy((4000, 9))
    figures = [measured_median("m", row) for row in normal]
    covered = np.mean([figure.low <= 0 <= figure.high for figure in figures])
    # Ends are the second smallest and second largest of nine: 1 - 2 (1 + 9)/2^9 = 0.9609, within four standard errors.
    assert abs(covered - 0.9609) < 4 * math.sqrt(0.9609 * 0.0391 / 4000)
    few = measured_median("m", [1.0, 2.0, np.inf])
    assert (few.value, few.low, few.high) == (2.0, -math.inf, math.inf)
    share = measured_share("s", [True] * 5 + [False] * 5)
    # Clopper and Pearson, 5 of 10: 0.1871 and 0.8129 in their table.
    assert (round(share.low, 4), round(share.high, 4)) == (0.1871, 0.8129)


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_in_reduced_form(name, tmp_path):
    (outcome,) = reproduce([name], size="tiny", out=tmp_path)
    assert outcome.verdict in VERDICTS[:-1], outcome.reason
    entry = load_claims(tmp_path)["claims"][0]
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["criterion"]["hash"] == CLAIMS[name].digest(Setting("tiny"))
    assert set(entry["made"]) == {"date", "commit", "command"}
    assert (tmp_path / entry["figure"]).stat().st_size > 5000
    again = {path.split("/")[1].removesuffix(".parquet"): pd.read_parquet(tmp_path / path) for path in entry["tables"]}
    for axis in draw(CLAIMS[name], again).axes:  # from the stored data alone
        assert axis.has_data() or axis.images, f"an empty panel in the figure of {name}"


def test_a_missing_extra_is_a_named_reason(monkeypatch):
    from quadsim.theory.claims import running

    monkeypatch.setitem(running.CLAIMS, "made-up", made_up(1, 2, modules={"no_such_module": "curvature"}))
    (outcome,) = reproduce(["made-up"])
    assert outcome.verdict == "not run"
    assert outcome.reason == "needs the extra curvature (pip install 'quadsim[curvature]')"
    assert outcome.to_json()["conditions"][0]["state"] == "missing"


def test_a_folder_keeps_other_claims_and_refuses_strangers(tmp_path):
    out = tmp_path / "out"
    reproduce(["gd-lower-unsquared"], size="tiny", out=out)
    reproduce(["covariance-identity"], size="tiny", out=out)
    assert [entry["id"] for entry in load_claims(out)["claims"]] == ["gd-lower-unsquared", "covariance-identity"]
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "file").write_text("x")
    with pytest.raises(ValueError, match="out must be empty or hold earlier claims"):
        reproduce(["gd-lower-unsquared"], out=tmp_path / "strange")
    with (
        FileLock(out / "running.lock"),
        pytest.raises(ValueError, match=r"out must be free, got .* another process works"),
    ):
        reproduce(["gd-lower-unsquared"], size="tiny", out=out)
    killed = tmp_path / "killed"  # before the first document was written
    (killed / "gd-lower").mkdir(parents=True)
    assert reproduce(["gd-lower-unsquared"], size="tiny", out=killed)
    assert sorted(path.name for path in killed.iterdir()) == ["claims.json", "gd-lower", "gd-lower-unsquared"]
    (out / "claims.json").write_text('{"claims": [1]}')
    with pytest.raises(ValueError, match="claims must be a document that"):
        reproduce(["gd-lower-unsquared"], out=out)


def test_a_folder_keeps_claims_of_another_version_and_names_every_size(tmp_path):
    out = tmp_path / "out"
    reproduce(["gd-lower-unsquared"], size="quick", out=out)
    document = load_claims(out)
    assert document["size"] == "quick"
    strange = document["claims"][0] | {"id": "of-another-version"}
    (out / "claims.json").write_text(json.dumps(document | {"claims": [*document["claims"], strange]}))
    reproduce(["covariance-identity"], size="tiny", out=out)
    again = load_claims(out)
    assert [entry["id"] for entry in again["claims"]] == [
        "gd-lower-unsquared",
        "covariance-identity",
        "of-another-version",
    ]
    assert again["size"] == "quick and tiny"


def test_the_page_says_how_many_claims_its_head_leaves_out_and_how_to_run_again(tmp_path):
    entries = [{"id": f"claim-{i}", "verdict": "partly"} for i in range(15)]
    (tmp_path / "claims.json").write_text(json.dumps({"claims": entries, "size": "full"}))
    page = claims_page(tmp_path)
    assert len(page.more) == 13
    assert page.more[-1] == "and 3 more, in the table below"
    assert "quadsim reproduce --full" in page.html()  # the command has no --size


def test_the_command(tmp_path):
    run = CliRunner()
    shown = run.invoke(app, ["reproduce", "gd-lower-unsquared", "--out", str(tmp_path / "a")])
    assert shown.exit_code == 0
    assert "gd-lower-unsquared: refuted." in shown.stdout
    assert "fails  least gap ratio over the claimed factor 0.6 (wanted: at least 1)" in shown.stdout
    document = json.loads(
        run.invoke(app, ["reproduce", "gd-lower-unsquared", "--json", "--out", str(tmp_path / "b")]).stdout
    )
    assert [entry["verdict"] for entry in document["claims"]] == ["refuted"]
    listing = json.loads(run.invoke(app, ["reproduce", "--list", "--json"]).stdout)
    assert [entry["id"] for entry in listing["claims"]] == list(CLAIMS)
    wrong = run.invoke(app, ["reproduce", "gd-lowr"])
    assert wrong.exit_code == 2
    assert "did you mean 'gd-lower'" in wrong.stderr
    both = run.invoke(app, ["reproduce", "--quick", "--full"])
    assert (both.exit_code, both.stderr.count("\n")) == (2, 1)
