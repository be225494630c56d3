"""Reports: what they say, that nothing of a stranger reaches them as it is, and that they come out the same again."""

import importlib
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from cases import with_defaults
from documents import HOSTILE, claim, claims_document, report, verify_document, write
from PIL import Image
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.pages import kind_of, write_report
from quadsim.cli.pages.formulas import as_checked, claims_of, mathml, statement, symbols_of
from quadsim.cli.pages.sweep import sweep_page
from quadsim.cli.pages.theorem_card import kept_card, theorem_card
from quadsim.simulator import SweepConfig, load_results, sweep
from quadsim.theory import THEOREMS, judge

SMALL = ["--heterogeneity", "1,4", "--seeds", "3", "--steps", "400", "--block-size", "3", "--blocks", "2"]
SMALL += ["--optimizers", "gd,signsgd,adam"]


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on what a page of ours never has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name != "style", "the policy forbids it"
            if name in ("src", "href"):
                assert value.startswith(("data:", "#")), (tag, value)
                self.links += [value] if value.startswith("#") else []
            self.ids += [value] if name == "id" else []

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "sweep"
    result = run("sweep", *SMALL, "--out", folder)
    assert result.exit_code == 0, result.stderr
    assert "(report.html, summary.parquet" in result.stdout
    return folder


def copy_of(folder, to):
    to.mkdir()
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


def test_the_report_of_a_sweep_says_what_was_asked_and_found(swept):
    page, results = Page(swept / "report.html"), load_results(swept)
    assert "<title>How many steps gd, signsgd and adam need at heterogeneity 1 and 4</title>" in page.html
    for sentence in results.answers:
        assert sentence in page.text
    for note in results.notes:
        assert note in page.text
    for row in results.best.to_dict("records"):
        said = "&gt;400" if np.isinf(row["steps_median"]) else f"{row['steps_median']:g}"
        cells = f'<td>{row["setting"]}</td><td class="number" data-value="{row["steps_median"]!r}">{said}</td>'
        assert re.sub(r"\s", "", cells) in re.sub(r"\s", "", page.html)
    assert page.tags.count("img") == 3
    for text in (
        "against Hessian heterogeneity",
        "1e-06 of the start",
        "problems at every point",
        "float64",
        "config.json --out again",
    ):
        assert text.lower() in page.text.lower(), text
    assert "162 runs" in page.text
    assert page.links == ["#theorem-gd-upper"] * 3
    assert "theorem-gd-upper" in page.ids
    assert str(statement(THEOREMS["gd-upper"])) in page.html
    assert "✓ holds 54 1 no step of 54 runs lies above it" in page.text
    assert (
        "no theorem here bounds the steps of adam at every rate; of other things: adam-cycle, adam-is-sign, adam-local and "
        in page.text
    )


def test_every_link_leads_somewhere_and_every_id_is_there_once(tmp_path, swept):
    same = write(tmp_path, "claims.json", claims_document(claim(), claim(), claim(HOSTILE)))
    for page in (Page(swept / "report.html"), Page(write_report(same))):
        assert {link[1:] for link in page.links} <= set(page.ids)
        assert len(set(page.ids)) == len(page.ids)


def test_report_makes_figures_and_page_again_and_runs_nothing(swept, tmp_path, monkeypatch):
    again = copy_of(swept, tmp_path / "again")
    for path in [again / "report.html", *(again / "figures").iterdir()]:
        path.unlink()
    work = importlib.import_module("quadsim.simulator.sweeps.work.quadratics")
    monkeypatch.setattr(work, "simulate_optimizer", lambda *a, **k: pytest.fail("a report simulates nothing"))
    result = run("report", again)
    assert result.exit_code == 0, result.stderr
    assert "median" in result.stdout
    assert result.stdout.endswith(f"Report: {again / 'report.html'}\n")
    for name in ("report.html", "figures/steps.png", "figures/gap.png", "figures/steps.pdf", "figures/gap.pdf"):
        assert (again / name).read_bytes() == (swept / name).read_bytes(), name


def test_a_finished_sweep_without_a_report_gets_one(swept, tmp_path):
    again = copy_of(swept, tmp_path / "again")
    before = (again / "report.html").read_bytes()
    (again / "report.html").unlink()
    assert run("sweep", *SMALL, "--out", again, "--quiet").exit_code == 0
    assert (again / "report.html").read_bytes() == before


def test_quiet_prints_the_path_and_json_one_document(tmp_path):
    folder = write(tmp_path / "a", "claims.json", claims_document())
    assert run("report", folder, "--quiet").stdout == f"{folder / 'report.html'}\n"
    document = json.loads(run("report", folder, "--json").stdout)
    assert document == {"kind": "reproduce", "report": str(folder / "report.html")}


def test_texts_of_a_stranger_are_shown_and_never_run(swept, tmp_path):
    sweep = copy_of(swept, tmp_path / "sweep")
    manifest = json.loads((sweep / "manifest.json").read_text())
    manifest |= {"command": ["quadsim", HOSTILE], "platform": HOSTILE, HOSTILE: HOSTILE}
    manifest["versions"][HOSTILE] = HOSTILE
    del manifest["files"]  # a stranger leaves no checksums that show it
    (sweep / "manifest.json").write_text(json.dumps(manifest))
    summary = pd.read_parquet(sweep / "summary.parquet")
    summary["theorem"] = HOSTILE
    summary.loc[0, "verdict"] = "refuted"
    summary.to_parquet(sweep / "summary.parquet", index=False)
    many = {key: HOSTILE for key in ("tightest", "verdict")} | {"complaints": [HOSTILE], "notes": [HOSTILE]}
    step = dict.fromkeys(("claim", "because", "status", "by"), HOSTILE) | {"counter_example": {HOSTILE: HOSTILE}}
    theorems = [report(**many, steps=[step]), report(HOSTILE, **many), report("sign-rate")]
    false = dict.fromkeys(("name", "claim", "verdict", "counter_example"), HOSTILE)
    asked = {"names": [HOSTILE], HOSTILE: HOSTILE}
    verify = verify_document(*theorems, false_claims=[false], asked=asked, manifest=manifest)
    texts = dict.fromkeys(("id", "claim", "group", "source", "scope", "verdict", "reason", "figure"), HOSTILE)
    conditions = [dict.fromkeys(("measure", "name", "wanted", "because", "state", "power"), HOSTILE)]
    measured = [dict.fromkeys(("name", "unit", "text", "value"), HOSTILE)]
    criterion = {"text": HOSTILE, "hash": HOSTILE, "conditions": conditions}
    rest = {
        "criterion": criterion,
        "conditions": conditions,
        "measured": measured,
        "notes": [HOSTILE],
        "tables": [HOSTILE],
        "fidelity": [HOSTILE],
        "history": [dict.fromkeys(("date", "before", "change", "criterion"), HOSTILE)],
        "proofs": [dict.fromkeys(("statement", "state", "detail"), HOSTILE)],
        "reach": dict.fromkeys(("variable", "law", "caption"), HOSTILE)
        | {"onsets": [dict.fromkeys(("curve", "text"), HOSTILE)]},
    }
    claims = claims_document(texts | rest, size=HOSTILE, manifest=manifest)
    folders = [write(tmp_path / "v", "verify.json", verify), write(tmp_path / "c", "claims.json", claims), sweep]
    for folder in folders:
        page = Page(write_report(folder))
        assert page.tags.count("script") == page.tags.count("style") == 1
        assert "alert(1)" in page.text
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
        assert "{{ 7 * 7 }}" in page.text


@pytest.mark.parametrize("junk", [None, 3, "text", [], {}, [None, 3, "x", [], {}], {"name": [], "id": {}}, True, 1e400])
def test_documents_of_any_shape_make_a_page(tmp_path, junk):
    keys = {**report(), **claim(), "asked": 0, "interrupted": 0, "manifest": 0, "size": 0, "false_claims": 0}
    verify = verify_document(
        *[report() | {key: junk} for key in report()], asked=junk, manifest=junk, false_claims=junk
    )
    claims = claims_document(junk, *[claim() | {key: junk} for key in claim()], manifest=junk, size=junk)
    assert Page(write_report(write(tmp_path / "v", "verify.json", verify))).tags.count("h1") == 1
    assert Page(write_report(write(tmp_path / "c", "claims.json", claims))).tags.count("h1") == 1
    inner = verify_document(
        report() | {"steps": [junk, {"claim": junk, "status": junk}]}, manifest=dict.fromkeys(keys, junk)
    )
    assert Page(write_report(write(tmp_path / "i", "verify.json", inner))).tags.count("h1") == 1


def png_header(width, height):
    """A PNG that says it is so large, and holds nothing."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(b) - 4) + b + struct.pack(">I", zlib.crc32(b)) for b in (head, b"IDAT", b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_figures_come_from_the_folder_and_are_png_of_sane_size(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    Image.new("RGB", (40, 30), "red").save(folder / "good.png")
    Image.new("RGB", (40, 30), "red").save(tmp_path / "outside.png")
    Image.new("RGB", (40, 30), "red").save(folder / "photo.jpg")
    (folder / "linked.png").symlink_to(tmp_path / "outside.png")
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:60])
    for name, side in {"large": 8_000, "larger": 10_000, "vast": 30_000}.items():
        (folder / f"{name}.png").write_bytes(png_header(side, side))
    wanted = {
        "good.png": "",
        "../outside.png": "it lies outside this folder",
        str(tmp_path / "outside.png"): "it lies outside this folder",
        "linked.png": "it lies outside this folder",
        "none.png": "is missing",
        ".": "is missing",
        "x\0y": "is missing",  # under the name with the sign in place of what no text has
        "photo.jpg": "cannot be read as PNG",
        "text.png": "cannot be read as PNG",
        "cut.png": "cannot be read as PNG",
        "large.png": "more than 40,000,000 pixels",
        "larger.png": "more than 40,000,000 pixels",
        "vast.png": "more than 40,000,000 pixels",
    }
    for name, said in wanted.items():
        page = Page(write_report(write(folder, "claims.json", claims_document(claim(figure=name)))))
        assert page.tags.count("img") == (not said), name
        assert said in page.text, name


def test_a_page_stays_small_whatever_the_figures(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    write(tmp_path, "claims.json", claims_document(*[claim(figure="noise.png")] * 4))
    Image.fromarray(noise).save(tmp_path / "noise.png")
    path = write_report(tmp_path)
    assert path.stat().st_size < 2_000_000
    assert "this page has no room left for it" in Page(path).text


def test_a_picture_holds_what_is_seen_and_no_more(tmp_path):
    picture = importlib.import_module("quadsim.cli.pages.pictures").picture_of
    Image.new("RGBA", (3000, 300), (0, 0, 0, 0)).save(tmp_path / "a.png", pnginfo=None)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes() + b"<script>")
    found = picture(tmp_path, "a.png", "alt")
    assert (found.width, found.height) == (2000, 200)
    assert b"script" not in found.data
    (tmp_path / "b.png").write_bytes(found.data)
    assert Image.open(tmp_path / "b.png").convert("RGB").getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("theorem", THEOREMS.values(), ids=lambda t: t.name)
def test_formulas_are_mathml_that_browsers_know(theorem):
    core = {"math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "msub", "msup", "msubsup", "munder"}
    core |= {"mover", "munderover", "mstyle", "mroot", "mtable", "mtr", "mtd", "mpadded"}
    formulas = [
        statement(theorem),
        as_checked(theorem),
        *(name for name, _ in symbols_of(theorem)),
        *claims_of(theorem).values(),
    ]
    for formula in formulas:
        assert "\\" not in formula
        for element in ElementTree.fromstring(str(formula)).iter():
            assert element.tag.partition("}")[2] in core, element.tag
            assert "style" not in element.attrib


def test_formulas_read_as_they_are_written():
    def shown(formula):
        text = "".join(ElementTree.fromstring(str(formula)).itertext())
        return text.replace("\N{MINUS SIGN}", "-").replace("\N{MATHEMATICAL DOUBLE-STRUCK CAPITAL E}", "E")

    assert shown(as_checked(THEOREMS["gradient-rate"])) == "Δt+1Δt≤1-ημ(2-η)ΛG"
    assert shown(as_checked(THEOREMS["adam-frozen"])) == "Δt+1Δt≤maxl[(1-ηC2,lκl)2]"
    assert shown(as_checked(THEOREMS["sign-constant"])) == "mins<t‖gs‖1≤ΛPPη2+Δ0ηt"
    assert shown(as_checked(THEOREMS["gd-noise"])).startswith("E[Δt]=∑i[")
    assert shown(mathml(r"\kappa_l < \Lambda_G")) == "κl<ΛG"


def test_the_report_of_verify(tmp_path):
    page = Page(write_report(write(tmp_path, "verify.json", verify_document())))
    assert "<title>Do all theorems hold, and are the false claims refuted?</title>" in page.html
    assert "All 2 theorems are proved" in page.text
    assert "none of 200 instances speaks against" in page.text
    assert "All 1 claims that are known to be false are refuted" in page.text
    for theorem in (THEOREMS["gd-upper"], THEOREMS["sign-rate"]):
        assert str(statement(theorem)) in page.html
        assert theorem.source in page.text
        assert "; ".join(h.text for h in theorem.conditions) in page.text
    assert str(claims_of(THEOREMS["gd-upper"])["Eq(-eta*lambda + 1, -eta*lambda + 1)"]) in page.html
    assert (tmp_path / "figures/tightness.png").is_file()
    assert "'verify' --out" not in page.text
    assert "quadsim verify --out 'a b'" in page.text
    assert "10 verified, 90 holds, 7 not applicable" in page.text


def test_what_speaks_against_a_theorem_is_in_the_first_sentence_and_the_table(tmp_path):
    steps = [{"claim": "a < b", "because": "the end", "status": "refuted", "by": "Z3", "counter_example": {"a": "2"}}]
    document = verify_document(
        report(verdict="refuted", complaints=["problem 3, step 7"]),
        report("sign-rate", "unproved", steps=steps),
        report("heavy-ball", "untested"),
        report("of-another-version"),
        false_claims=[{"name": "it", "claim": "x", "verdict": "survived", "counter_example": ""}],
        interrupted=True,
    )
    page = Page(write_report(write(tmp_path, "verify.json", document)))
    assert (
        "Of 4 theorems 1 are proved; gd-upper is refuted, sign-rate is unproved and heavy-ball is untested."
        in page.text
    )
    assert "It was interrupted" in page.text
    assert "these survived: it" in page.text
    assert page.html.count('class="verdict bad"') >= 4
    for text in (
        "problem 3, step 7",
        "a step is not proved: the end",
        "It fails for a = 2",
        "no instance met the hypotheses",
    ):
        assert text in page.text, text
    assert "no theorem of that name" in page.text


def test_formulas_are_never_made_from_the_folder(tmp_path):
    step = {"claim": r"\frac{1}{2} <mi>x</mi>", "because": "x", "status": "proved", "by": "SymPy"}
    document = verify_document(report("unknown", steps=[step], statement=r"\frac{1}{2}"))
    assert "math" not in Page(write_report(write(tmp_path, "verify.json", document))).tags


def test_the_report_of_reproduce(tmp_path):
    words = ("shown", "not shown", "inconclusive", "counter-example", "not run", "withdrawn")
    document = claims_document(*(claim(f"c{i}", word, reason=f"reason {i}") for i, word in enumerate(words)))
    page = Page(write_report(write(tmp_path, "claims.json", document)))
    assert "<title>Can 6 claims of Zhang et al. be reproduced?</title>" in page.html
    assert "1 shown, 1 counter-example, 1 not shown, 1 inconclusive, 1 withdrawn and 1 not run" in page.text
    for tone, word in zip(("good", "bad", "open", "bad", "none", "none"), words, strict=True):
        assert re.search(rf'class="verdict {tone}"><span aria-hidden="true">\S</span> {word}<', page.html), word
    for text in (
        "c3: counter-example; reason 3",
        "above 1; smallest effect 2",
        "the ratio is above 1",
        "9f86d0",
        "14.2",
        "0.93",
        "quadratics in place of networks",
        "three seeds",
        "twice the seeds",
        "4 steps proved",
        "12 [10, beyond 1000]",
        "Law: 1/C (theory, section 10)",
        "twenty seeds",
    ):
        assert text in page.text, text


def test_figures_of_reproduce_are_drawn_again_from_its_tables(tmp_path):
    folder = tmp_path / "r"
    result = run("reproduce", "gd-lower", "--quick", "--quiet", "--out", folder)
    assert result.exit_code == 0, result.stderr
    page, figure = folder / "report.html", folder / "gd-lower/figure.png"
    assert Page(page).tags.count("img") == 1
    before = page.read_bytes(), figure.read_bytes()
    page.unlink()
    figure.unlink()
    assert run("report", folder).exit_code == 0
    assert (page.read_bytes(), figure.read_bytes()) == before
    pd.DataFrame({"x": [1]}).to_parquet(folder / "gd-lower/contraction.parquet")
    result = run("report", folder)
    assert result.exit_code == 2
    assert re.search(r"tables of gd-lower must be those of its experiment, got \S+ \(KeyError", result.stderr)
    (folder / "gd-lower").rename(tmp_path / "elsewhere")
    (folder / "gd-lower").symlink_to(tmp_path / "elsewhere")
    figure = tmp_path / "elsewhere/figure.png"
    figure.unlink()
    assert run("report", folder).exit_code == 0
    assert not figure.exists(), "nothing is written outside of the folder"


def test_figures_in_words_where_numbers_cannot_say_it(tmp_path):
    rows = [
        {"name": "ratio", "value": 1.5, "text": "ratio 1.5 [1, 2]"},
        {"name": "steps", "value": None, "text": "steps inf"},
    ]
    document = claims_document(claim(measured=rows, conditions=[]))
    page = Page(write_report(write(tmp_path / "a", "claims.json", document)))
    for said, shown in {"steps inf": 1, "1.5 [1, 2]": 0, "above 1; smallest effect 2": 1, "in words": 1}.items():
        assert page.text.count(said) == shown, said
    alone = claims_document(claim(measured=rows[:1]))
    assert "in words" not in Page(write_report(write(tmp_path / "b", "claims.json", alone))).text


def unchecked(folder):
    """As folders were before the manifest held checksums."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_bound_that_is_refuted_shows_and_so_does_the_run(swept, tmp_path):
    folder = copy_of(swept, tmp_path / "a")
    unchecked(folder)
    summary = pd.read_parquet(folder / "summary.parquet")
    first = summary.index[summary["optimizer"] == "gd"][0]
    summary.loc[first, ["verdict", "margin"]] = ["refuted", 1.25]
    summary.to_parquet(folder / "summary.parquet", index=False)
    results = load_results(folder)
    path = swept.parent / "refuted.html"
    path.write_text(sweep_page(results).html())
    page = Page(path)
    assert "✗ refuted" in page.text
    assert "1 of 54 runs lie above it, in exact arithmetic" in page.text
    assert "gd at 1.0, seed 0, lr 0.02: refuted by gd-upper, margin 1.25" in page.text or re.search(
        r"gd at 1.0, seed 0, lr \S+: refuted by gd-upper, margin 1.25", page.text
    )


def test_steps_that_were_not_reached_sort_as_infinite_and_edges_are_said(swept):
    results = load_results(swept)
    best = results.best.copy()
    best.loc[0, ["steps_median", "at_edge"]] = [np.inf, "high"]
    results.tables.best, results.tables.best_rows = best, best.to_dict("records")
    html = sweep_page(results).html()
    assert 'data-value="inf">&gt; 400</td>' in html
    assert "(edge)" in html
    assert "a better one may exist" in html


def test_a_sweep_that_kept_counts(tmp_path):
    result = run(
        "sweep",
        *with_defaults(SMALL, ["--keep", "quantiles", "--optimizers", "gd,adam-frozen", "--out", str(tmp_path / "q")]),
    )
    assert result.exit_code == 0, result.stderr
    page = Page(tmp_path / "q/report.html")
    assert page.tags.count("img") == 2
    assert "histogram.parquet: counts by status" in page.text
    assert "median steps (at most)" in page.text
    assert "✓ holds 54 1 no step of 54 runs lies above it" in page.text
    assert {"#theorem-gd-upper", "#theorem-adam-frozen-exact"} <= set(page.links)


def test_a_sweep_over_models(tmp_path):
    small = ["--model", "mlp", "--layers", "1", "--width", "4", "--seeds", "2", "--steps", "20", "--lr", "0.1,0.3"]
    result = run("sweep", *small, "--heterogeneity", "1,10", "--optimizers", "gd,adam", "--out", tmp_path / "m")
    assert result.exit_code == 0, result.stderr
    page = Page(tmp_path / "m/report.html")
    assert "How many steps gd and adam need on mlp, frequency 1 and 10" in page.html
    assert "on optimised loss" in page.text
    assert page.tags.count("img") == 3
    assert "Bounds" not in page.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"the argument must be a result folder, got \S+, which is not a folder; name"),
        ({}, r"must hold one of manifest.json, verify.json, claims.json, got \S+ with none of these; name another"),
        ({"config.json": "{}"}, r"got \S+ with an unfinished sweep; finish it with quadsim sweep --config"),
        (
            {"verify.json": "{}", "claims.json": "{}"},
            r"must hold one result, got \S+ with verify and reproduce; separate",
        ),
        ({"verify.json": "{"}, r"verify.json must be JSON"),
        ({"verify.json": "[]"}, r"verify.json must hold one object, got list"),
        ({"verify.json": "{}"}, r"verify.json must list theorems, got none in \S+; write it"),
        ({"claims.json": '{"claims": {}}'}, r"claims.json must list claims, got none"),
        ({"claims.json": "[" * 100_000}, r"claims.json must be (JSON|a plain document)"),
        ({"manifest.json": "{}"}, r"config must be a readable file"),
        ({"manifest.json": "{}", "config.json": "{}"}, r"config must be a document with quadsim_format 1"),
        ({"manifest.json": "{}", "config.json": '{"quadsim_format": 1}'}, r"results must be readable"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, dict) else "",
)
def test_a_folder_that_cannot_be_reported_is_one_line_and_exit_code_2(tmp_path, files, message):
    folder = tmp_path / "a"
    for name, text in ({} if files is None else files).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    if files == {}:
        folder.mkdir()
    result = run("report", folder)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("change", ["no column", "other optimizer", "other type", "no rows"])
def test_a_summary_that_does_not_fit_its_configuration_is_one_line(swept, tmp_path, change):
    folder = copy_of(swept, tmp_path / "a")
    summary = pd.read_parquet(folder / "summary.parquet")
    if change == "no column":
        summary = summary.drop(columns="bound_steps")
    elif change == "other optimizer":
        summary["optimizer"] = HOSTILE
    elif change == "other type":
        summary["steps_to_tolerance"] = "many"
    else:
        summary = summary[:0]
    summary.to_parquet(folder / "summary.parquet", index=False)
    unchecked(folder)
    result = run("report", folder)
    assert result.exit_code == 2, result.output
    assert re.match(r"Error: results must .*; .*\n$", result.stderr), result.stderr


def test_verify_leaves_a_document_and_a_report(tmp_path):
    options = ["--problems", "3", "--search", "0", "--quiet"]
    result = run("verify", "gd-upper", *options, "--out", tmp_path / "v")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"Report: {tmp_path / 'v/report.html'}\n")
    document = json.loads((tmp_path / "v/verify.json").read_text())
    assert document["theorems"][0]["verdict"] == "proved"
    assert document["asked"]["names"] == ["gd-upper"]
    assert document["manifest"]["versions"]["quadsim"]
    page = Page(tmp_path / "v/report.html")
    assert "Does gd-upper hold?" in page.html
    assert kind_of(tmp_path / "v") == "verify"
    before = (tmp_path / "v/report.html").read_bytes()
    assert run("report", tmp_path / "v").exit_code == 0
    assert (tmp_path / "v/report.html").read_bytes() == before
    found = run("verify", "gd-upper", *options, "--json", "--out", tmp_path / "v")
    assert json.loads(found.stdout)["theorems"][0]["name"] == "gd-upper"


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    folder = write(tmp_path / "a", "claims.json", claims_document())
    (folder / "report.html").mkdir()
    result = run("report", folder)
    assert result.exit_code == 2
    assert "the folder must be writable" in result.stderr


def test_every_file_of_the_template_is_in_the_wheel():
    import tomllib

    root = Path(__file__).parents[2]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package, folder in {"quadsim.cli.pages": "cli/pages", "quadsim.cli.pages.explore": "cli/pages/explore"}.items():
        listed = {path.name for pattern in data[package] for path in (root / folder).glob(pattern)}
        found = {path.name for path in (root / folder).iterdir() if path.is_file() and path.suffix != ".py"}
        assert listed == found != set(), folder


def test_a_card_from_the_cache_is_the_card_of_its_theorem(tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    made = theorem_card(THEOREMS["gd-upper"])
    assert kept_card("gd-upper") == made
    monkeypatch.setattr("quadsim.cli.pages.theorem_card._texts", None)  # the second time it is read
    assert kept_card("gd-upper") == made


def test_captions_of_one_problem_speak_of_no_share(tmp_path):
    config = SweepConfig(heterogeneity=(1, 10), seeds=1, steps=50, optimizers=("gd",), lr=(0.1,), block_size=2)
    results = sweep(config, judge, out=tmp_path / "one")
    page = Page(write_report(results.folder))
    assert "one problem at every point." in page.text
    assert not re.search(r"\b1 problems", page.text)
