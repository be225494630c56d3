"""Instruments: each is shown its known effect and its null, and broken ones are caught by their controls."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, node_distance, nodes_in_decades
from quadsim.simulator.curvature.spectral_heterogeneity import SPECTRAL_MEASURES, spectral_heterogeneity
from quadsim.simulator.models import Partition
from quadsim.simulator.problems.heterogeneity import sign_cosine
from quadsim.theory.claims import CLAIMS, Condition, Found, measured_median, reproduce
from quadsim.theory.claims.running import tasks
from quadsim.theory.instruments import INSTRUMENTS, Control, Instrument, networks, races, show
from quadsim.theory.instruments.spectral import equal_nodes

TWO = Partition("two", ("a", "b"), (3, 3))


def spectra_of(*blocks):
    return BlockSpectra.exactly(TWO, [np.array([block], dtype=float) for block in blocks], np.zeros(1))


FEWER = {"sd-matrices": 4, "row-share": 4, "head-common-over-centred": 4}
"""Seeds of instruments that train or differentiate many networks; `quadsim reproduce --controls` has eight."""


@pytest.mark.parametrize("name", sorted(set(INSTRUMENTS) - {"js-kernel"}))
def test_an_instrument_passes_its_controls_or_its_fault_is_known(name):
    found = show(INSTRUMENTS[name], seeds=FEWER.get(name, 8))
    assert found.passes == (not INSTRUMENTS[name].known_fault), found
    assert found.table["value"].notna().all()


def test_the_kernel_on_raw_eigenvalues_changes_with_the_unit_of_the_loss():
    found = show(INSTRUMENTS["js-kernel"], seeds=3)
    assert not found.passes
    assert found.null_moved > 0.9 > 3 * found.moved


def test_every_claim_names_instruments_that_may_judge_or_is_not_judged():
    for claim in CLAIMS.values():
        faulty = [name for name in claim.instruments if INSTRUMENTS[name].known_fault]
        assert bool(faulty) == (claim.unjudged_as == "withdrawn" and bool(claim.unjudged)), claim.id


BROKEN = {
    "JS0 as the primary measure": lambda: replace(INSTRUMENTS["js0"], name="sd-largest"),
    "the sign of the current gradient": lambda: of_agreement(
        lambda step, memory, gradient: sign_cosine(step, gradient)
    ),
    "the sign with the wrong sign": lambda: of_agreement(lambda step, memory, gradient: -sign_cosine(step, memory)),
    "bins of equal width between spectra of unequal sizes": lambda: equal_nodes(distance_of_bins),
    "a constant predictor": lambda: constant_predictor(),
    "gains and positions among the weight matrices": lambda: with_every_block(),
    "a measure that never moves": lambda: constant(1.0),
    "a measure that is not there": lambda: constant(np.nan),
    "a measure of the unit": lambda: of_the_unit(),
}


def of_agreement(agreement):
    positive, null = races.soft_sign(agreement)
    return replace(INSTRUMENTS["sign-agreement"], positive=positive, null=null)


def distance_of_bins(first, second):
    """What full-spectra-alike was judged by before: 100 bins of equal width, each spectrum over its largest modulus."""
    cut = Partition("two", ("a", "b"), (first.size, second.size))
    spectra = BlockSpectra.exactly(cut, [first[None], second[None]], np.zeros(1))
    return float(jensen_shannon(spectra, bins=100, normalise="block")[0, 0, 1])


def with_every_block():
    def measure(levels, seeds):
        every = [networks.scaled_gains(x, seeds, lambda problem: problem.partition("module").labels) for x in levels]
        return np.stack(every, axis=1)

    one = INSTRUMENTS["sd-matrices"]
    positive = replace(one.positive, measure=lambda levels, seeds: np.tile(np.linspace(0.5, 1.4, 4), (seeds, 1)))
    return replace(one, positive=positive, null=replace(one.null, measure=measure))


def constant_predictor():
    def measure(levels, seeds):
        outcome = np.random.default_rng(0).normal(size=(seeds, 30))
        return np.array([[races.predictor(np.ones(30), row) for _ in levels] for row in outcome])

    one = INSTRUMENTS["rank-correlation"]
    return replace(one, positive=replace(one.positive, measure=measure))


def constant(value):
    one = INSTRUMENTS["gradient-spread"]
    control = replace(one.positive, measure=lambda levels, seeds: np.full((seeds, len(levels)), value))
    return replace(one, positive=control)


def of_the_unit():
    control = Control(dial="x", levels=(1.0, 2.0, 3.0), measure=lambda levels, seeds: np.tile(levels, (seeds, 1)))
    return Instrument(name="unit", measures="x", direction="rises", positive=control, null=control)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_instrument_is_caught_by_its_controls(name):
    assert not show(BROKEN[name]()).passes


def test_a_claim_gets_no_verdict_while_its_instrument_fails(monkeypatch):
    claim = replace(
        CLAIMS["norm-placement"],
        instruments=("broken",),
        conditions=(Condition(measure="it", null=1, effect=2, because="", level="made up"),),
        experiment=lambda setting: Found([measured_median("it", range(20, 32))], {}),
    )
    monkeypatch.setitem(tasks.INSTRUMENTS, "broken", constant(1.0))
    monkeypatch.setitem(CLAIMS, claim.id, claim)
    tasks._shown.cache_clear()
    (outcome,) = reproduce([claim.id], size="tiny")
    assert outcome.verdict == "withdrawn"
    assert outcome.reason.startswith("an instrument fails its control: gradient-spread it falls or stays from 1 to 1")
    monkeypatch.setitem(CLAIMS, claim.id, replace(claim, instruments=("gradient-spread",)))
    (outcome,) = reproduce([claim.id], size="tiny")
    assert outcome.verdict == "shown"


@pytest.mark.parametrize("measure", SPECTRAL_MEASURES)
def test_equal_spectra_do_not_differ_and_what_is_not_defined_is_nan(measure):
    values = [0.1, 0.2, 1.0]
    assert spectral_heterogeneity(spectra_of(values, values), measure)[0] == pytest.approx(0.0, abs=1e-12)
    assert spectral_heterogeneity(spectra_of(values, [2 * x for x in values]), measure)[0] > 0.0
    assert np.isnan(spectral_heterogeneity(spectra_of(values, [np.nan] * 3), measure)[0])


def test_nodes_do_not_depend_on_the_number_of_eigenvalues_nor_on_their_scale():
    law = np.geomspace(1e-6, 1.0, 64)
    once, often = nodes_in_decades(law), nodes_in_decades(1e3 * np.repeat(law, 20))
    assert node_distance(once, often) == pytest.approx(0.0, abs=0.02)
    assert once[-1] == pytest.approx(np.log10(1 + 1e4))
    assert node_distance(nodes_in_decades(-law), once) > 1.0  # the sign counts
    assert (nodes_in_decades(np.zeros(5)) == 0.0).all()
    assert np.isnan(nodes_in_decades([1.0, np.nan])).all()
    with pytest.raises(ValueError, match=r"eigenvalues must have the shape \(P,\) with P at least 1, got \(0,\)"):
        nodes_in_decades([])


def test_the_deviation_of_two_blocks_is_half_their_distance_in_decades():
    found = spectral_heterogeneity(spectra_of([0.0, 0.0, 3.0], [0.0, 0.0, 300.0]))
    assert found[0] == pytest.approx(1.0)
    assert np.isnan(spectral_heterogeneity(spectra_of([-3.0, -2.0, -1.0], [0.0, 0.0, 3.0]))[0])  # nowhere curved up


def test_the_command_shows_controls():
    run = CliRunner().invoke(app, ["reproduce", "norm-placement", "full-spectra-alike", "--controls", "--json"])
    assert run.exit_code == 0, run.output
    found = {one["name"]: one for one in json.loads(run.stdout)["controls"]}
    assert set(found) == {"gradient-spread", "raw-gradient-spread", "equal-nodes"}
    assert all(one["passes"] for one in found.values())
    text = CliRunner().invoke(app, ["reproduce", "block-diagonal-mlp", "--controls"])
    assert "off-block-share: passes" in text.stdout


@pytest.mark.parametrize(
    "options",
    [["--controls", "--full"], ["--controls", "--merge", "x.json"], ["--list", "--controls"], ["--list", "--out", "x"]],
)
def test_what_only_shows_takes_no_options_of_a_run(options):
    found = CliRunner().invoke(app, ["reproduce", *options])
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"{options[0]} runs no claim and cannot be combined with {options[1]}" in found.stderr
