"""Theorems in LaTeX, Markdown, as a sketch for Lean and as JSON, and their papers: whole, balanced, and of every theorem."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cases import BAD_EXPORTS
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.theory import THEOREMS, Theorem
from quadsim.theory.exporting.latex import latex_document, markdown_theorem, text_in_latex
from quadsim.theory.exporting.lean import lean_sketch
from quadsim.theory.exporting.sources import bibtex, papers_of
from quadsim.theory.proof_checker import check_document
from quadsim.theory.symbols import Symbol as s

ROOT = Path(__file__).parents[2]
QUICK = ("gd-upper", "block-gd", "sign-descent-lemma-general")


def unbalanced(text):
    """What is opened in LaTeX and not closed, or closed and not opened; "" if nothing."""
    open_ = []
    for mark in re.findall(r"\\\\|\\(?:begin|end)\{[a-z]+\}|\\[()\[\]{}]|\\left\b|\\right\b|[{}]", text):
        if mark in (r"\\", r"\{", r"\}"):
            continue
        closes = {"}": "{", r"\)": r"\(", r"\]": r"\[", r"\right": r"\left"}.get(mark)
        if mark.startswith(r"\end"):
            closes = mark.replace("end", "begin", 1)
        if closes is None:
            open_.append(mark)
        elif not open_ or open_.pop() != closes:
            return f"{mark} at {len(open_)}"
    return " ".join(open_)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [(r"\begin{proof} \( x_{1} \) \end{proof}", False), (r"\begin{proof}\end{theorem}", True), (r"{\(}\)", True)],
)
def test_what_is_not_balanced_is_seen(text, wrong):
    assert bool(unbalanced(text)) == wrong


def test_words_are_marked_for_latex():
    assert text_in_latex(r"50% of C_1 & {a} \ b^2 < c") == (
        r"50\% of C\_1 \& \{a\} \textbackslash{} b\textasciicircum{}2 \textless{} c"
    )


def check_texts(name):
    theorem = THEOREMS[name]
    document = latex_document(theorem)
    assert not unbalanced(document), unbalanced(document)
    for words in (r"\begin{theorem}", r"\begin{proof}", r"\end{document}"):
        assert document.count(words) == 1
    for hypothesis in theorem.conditions:
        if hypothesis.relation is None:
            assert text_in_latex(hypothesis.text) in document
    markdown = markdown_theorem(theorem)
    assert markdown.count("$$") == 2
    assert markdown.replace("$$", "").count("$") % 2 == 0
    sketch = lean_sketch(theorem)
    assert sketch.count("theorem ") == 1
    assert sketch.rstrip().endswith("sorry")
    assert (sketch.count("(") - sketch.count(")")) == 0
    return document


@pytest.mark.parametrize("name", QUICK)
def test_texts_are_whole(name):
    check_texts(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(THEOREMS) - set(QUICK)))
def test_all_texts_are_whole(name):
    check_texts(name)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex must be there to compile a document")
def test_a_document_compiles(tmp_path):
    (tmp_path / "proof.tex").write_text(latex_document(*(THEOREMS[name] for name in QUICK)), encoding="utf-8")
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "proof.tex"], cwd=tmp_path, check=True)


def run(*arguments):
    return CliRunner().invoke(app, ["theorems", *arguments])


@pytest.mark.parametrize(("arguments", "message"), BAD_EXPORTS)
def test_bad_exports_are_refused_in_one_line(arguments, message):
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert found.output.count("\n") == 1
    assert re.match(f"Error: {message}", found.output), found.output


def test_the_command_prints_what_the_checker_reads():
    found = run("gd-upper", "--format", "json")
    assert check_document(json.loads(found.stdout))[0]["verdict"] == "proved"


def test_every_source_with_a_number_has_its_paper():
    for theorem in THEOREMS.values():
        assert len(papers_of(theorem)) >= len(set(re.findall(r"arXiv [\d.]+\d", theorem.source)))
    unknown = Theorem(name="mine", bound=s.L, source="After nobody, arXiv 9999.00000.")
    with pytest.raises(ValueError, match=r"the source of mine must be in the table of papers, got arXiv 9999\.00000"):
        papers_of(unknown)


def test_papers_are_bibtex_and_those_of_the_paper():
    text = bibtex(*THEOREMS.values())
    keys = re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)
    assert len(keys) == len(set(keys)) == 12
    assert text.count("{") == text.count("}")
    assert (ROOT / "paper.bib").read_text(encoding="utf-8") == text
    cited = set(re.findall(r"@(\w+)", (ROOT / "paper.md").read_text(encoding="utf-8").split("---")[2]))
    assert cited <= set(keys)
    assert "tomihari2025understanding" in cited


def test_the_citation_names_the_papers():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for theorem in (THEOREMS["gd-lower"], THEOREMS["sign-rate"]):
        for paper in papers_of(theorem):
            assert dict(paper.fields)["eprint"] in citation
