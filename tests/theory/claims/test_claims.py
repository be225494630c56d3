"""The papers' claims: criteria, verdicts, and a reduced form of every experiment."""

import json

import numpy as np
import pandas as pd
import pytest
from claims_cases import made_up
from filelock import FileLock
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.pages.claims import claims_page
from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models import Partition
from quadsim.theory.claims import CLAIMS, VERDICTS, Setting, load_claims, reproduce
from quadsim.theory.claims.running.outcome import draw, draw_reach
from quadsim.theory.claims.running.reproducing import unfixed


def test_js0_fails_its_positive_control():
    """Scales spread further are more heterogeneity, but JS0 falls: the reason why no claim is judged by it, and its numbers."""
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
    assert [round(found[0], 2), round(found[-1], 2)] == [0.58, 0.28]
    used = [claim for claim in CLAIMS.values() if "js0" in claim.instruments]
    assert all(claim.unjudged for claim in used), "judged by what fails its control"


@pytest.mark.parametrize("name", CLAIMS)
def test_the_criterion_of_every_claim_is_fixed_and_dated(name):
    """Whoever changes a criterion dates the change: the message holds the entry that its history needs."""
    assert not unfixed(CLAIMS[name]), unfixed(CLAIMS[name])
    dates = [entry.date for entry in CLAIMS[name].history]
    assert dates == sorted(dates)
    assert all(entry.change for entry in CLAIMS[name].history[1:])


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_in_reduced_form(name, tmp_path):
    (outcome,) = reproduce([name], size="tiny", out=tmp_path)
    assert outcome.verdict in VERDICTS[:-1], outcome.reason
    assert outcome.judgement.states or outcome.found.proofs or outcome.claim.unjudged
    entry = load_claims(tmp_path)["claims"][0]
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert entry["criterion"]["hash"] == CLAIMS[name].digest(Setting("tiny"))
    assert set(entry["made"]) == {"date", "commit", "command"}
    assert (tmp_path / entry["figure"]).stat().st_size > 5000
    again = {path.split("/")[1].removesuffix(".parquet"): pd.read_parquet(tmp_path / path) for path in entry["tables"]}
    figures = [draw(CLAIMS[name], again), draw_reach(CLAIMS[name], again)]  # from the stored data alone
    for axis in [axis for figure in figures if figure is not None for axis in figure.axes]:
        assert axis.has_data() or axis.images, f"an empty panel in a figure of {name}"
    if entry["reach"]:
        assert (tmp_path / entry["reach"]["figure"]).stat().st_size > 5000
        curves = set(again["reach"]["curve"]) if CLAIMS[name].reach.onset is not None else set()
        assert {row["curve"] for row in entry["reach"]["onsets"]} == curves


def test_a_missing_extra_is_a_named_reason(monkeypatch):
    monkeypatch.setitem(CLAIMS, "made-up", made_up(modules={"no_such_module": "curvature"}))
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
    entries = [{"id": f"claim-{i}", "verdict": "not shown"} for i in range(15)]
    (tmp_path / "claims.json").write_text(json.dumps({"claims": entries, "size": "full"}))
    page = claims_page(tmp_path)
    assert len(page.more) == 13
    assert page.more[-1] == "and 3 more, in the table below"
    assert "quadsim reproduce --full" in page.html()  # the command has no --size


def test_the_command(tmp_path):
    run = CliRunner()
    shown = run.invoke(app, ["reproduce", "gd-lower-unsquared", "--out", str(tmp_path / "a")])
    assert shown.exit_code == 0
    assert "gd-lower-unsquared: counter-example." in shown.stdout
    assert "proof  gd-lower without the square: counter-example (in exact arithmetic: H = diag(3, 1)" in shown.stdout
    assert "differs from the paper: the authors' thesis (arXiv 2608.16760) has the square" in shown.stdout
    document = json.loads(
        run.invoke(app, ["reproduce", "gd-lower-unsquared", "--json", "--out", str(tmp_path / "b")]).stdout
    )
    assert [entry["verdict"] for entry in document["claims"]] == ["counter-example"]
    listing = json.loads(run.invoke(app, ["reproduce", "--list", "--json"]).stdout)
    assert [entry["id"] for entry in listing["claims"]] == list(CLAIMS)
    wrong = run.invoke(app, ["reproduce", "gd-lowr"])
    assert wrong.exit_code == 2
    assert "did you mean 'gd-lower'" in wrong.stderr
    both = run.invoke(app, ["reproduce", "--quick", "--full"])
    assert (both.exit_code, both.stderr.count("\n")) == (2, 1)


def test_a_count_of_classes_has_a_vector_for_each_class():
    """At full size, which no test runs."""
    from quadsim.theory.claims.networks import blocks

    cells = blocks._class_cells(Setting("full"))
    assert {where for where, _ in cells} == {"", *blocks._BESIDE}
    for where, classes in cells:
        assert classes <= blocks._BESIDE.get(where, (blocks._VECTORS, 0))[0]
