"""The documentation builds without a warning, has every public name, and leads nowhere that is not there."""

import html
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import typer
from PIL import Image

import quadsim.simulator
import quadsim.theory
import quadsim.theory.claims

ROOT = Path(__file__).parent.parent
THEORY = (ROOT / "docs/theory.md").read_text()
SECTIONS = {int(part.partition(".")[0]): part for part in re.split(r"^## (?=\d+\. )", THEORY, flags=re.MULTILINE)[1:]}
NAME = r"([a-z]+(?:-[a-z]+)+)"  # of a statement: every one has a hyphen
REFERENCE = re.compile(
    rf"theory(?:\.md)?,? sections? (?P<first>\d+)(?:(?:,| to| and) (?P<last>\d+))?(?:, (?P<name>{NAME}))?"
    rf"|theory\.md, (?P<alone>{NAME})"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = os.environ | {
        "QUADSIM_DOCS_NOTEBOOKS": "none",
        "QUADSIM_DOCS_FIGURES": "blank",
        "NO_MKDOCS_2_WARNING": "1",
    }
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return folder


@pytest.fixture(scope="module")
def site(built):
    return {path.relative_to(built).parent.as_posix(): path.read_text() for path in built.rglob("index.html")}


@pytest.mark.parametrize("package", [quadsim.simulator, quadsim.theory, quadsim.theory.claims])
def test_every_public_name_is_there(site, package):
    text = "\n".join(site.values())
    text_of_package = Path(package.__file__).read_text()
    names = re.findall(r"^from \S+ import \w+ as (\w+)$", text_of_package, re.MULTILINE) or package.__all__
    assert len(names) > 10
    assert [name for name in names if not re.search(rf'id="{package.__name__}\.[\w.]*\b{name}"', text)] == []


def test_every_command_is_there(site):
    from quadsim.cli.app import app

    for command in app.registered_commands:
        assert re.search(rf"<h2[^>]*><code>quadsim {command.name}</code>", site["command-line"]), command.name


def test_the_help_is_whole(site):
    """Summaries are not cut to a terminal's width, and what stands between angle brackets is no tag."""
    from quadsim.cli.app import app

    page = site["command-line"]
    entries = re.findall(r'<li><a href="#quadsim-\w+">.*</li>', page)
    assert len(entries) == len(app.registered_commands)
    assert [entry for entry in entries if "..." in entry] == []
    assert "[runs/sweep-<hash of the configuration>]" in html.unescape(re.sub(r"<[^>]+>", "", page))


def test_what_a_function_returns_is_one_text(site):
    """A colon in its first line would turn the words before it into a type."""
    found = []
    for page, text in site.items():
        for returned in re.findall(
            r'<span class="doc-section-title">Returns:</span></p>\s*<ul>(.*?)</ul>', text, re.DOTALL
        ):
            named = re.search(r"<code>(.*?)</code>\s*\N{EN DASH}", returned, re.DOTALL)
            words = html.unescape(re.sub(r"<[^>]+>", "", named[1])) if named else ""
            if "`" in words or (" " in words and not re.search(r"[\[|]", words)):
                found.append(f"{page}: {words}")
    assert found == []


def test_a_docstring_links_the_section_of_theory_that_it_names(site):
    assert '<a href="../../theory/#9-preconditioned-steps-as-they-are-run">theory, section 9</a>' in site["api/theory"]
    assert [page for page, text in site.items() if re.search(r"theory\.md section \d", text)] == []


def test_names_of_modules_break_after_a_dot_and_figures_lead_to_themselves(site):
    assert ">quadsim.<wbr>simulator.<wbr>problems.<wbr>quadratic<" in site["api/problems"]
    blocks = {page: re.findall(r"<pre\b.*?</pre>", text, re.DOTALL) for page, text in site.items()}
    assert any(">quadsim.simulator<" in block for block in blocks["bounds-in-tests"])
    assert [page for page, found in blocks.items() if any("<wbr>" in block for block in found)] == []
    assert re.search(
        r'<a href="../streams-transformer.png"><img [^>]*src="../streams-transformer.png"', site["streams"]
    )


def test_the_home_page_has_the_question_the_picture_and_two_commands(site, built):
    home = site["."]
    assert re.search(r"<h1[^>]*>When and why do sign-based and adaptive optimizers beat gradient descent\?", home)
    (frame,) = re.findall(r'<iframe[^>]*src="([^"#]+)#', home)
    assert (built / frame).read_text().startswith("<!DOCTYPE html>")
    source = (ROOT / "docs/index.md").read_text()
    commands = re.findall(r"```sh\n(.*)\n```", source)
    assert " && ".join(commands) in (ROOT / "README.md").read_text()


def test_the_second_notebook_ends_with_the_page_with_dials(site):
    end = site["notebooks/2-dials-and-geometry"].rpartition("<h2")[2]
    assert re.search(r'<iframe[^>]*src="../../explorer.html#[^"]*view=small"', end)


def test_an_option_in_a_text_is_not_broken(site):
    bare = r"<code>[^<]*(?<![\w-])--[a-z][^<]*</code>"
    assert {page: found for page, text in site.items() if (found := re.findall(bare, text))} == {}
    assert '<span class="option">--heterogeneity</span>' in site["dials"]


def hook_named(name):
    """A module of the build of this site."""
    spec = importlib.util.spec_from_file_location(f"{name}_hook", ROOT / f"docs/hooks/{name}.py")
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook


def test_sliders_that_need_a_kernel_leave_no_text_on_the_page():
    shown = {"text/plain": "interactive(children=(FloatLogSlider(...", "application/vnd.jupyter.widget-view+json": {}}
    output = nbformat.v4.new_output("display_data", data=shown)
    assert hook_named("notebooks")._output(output, "name", {}) == ""


def test_printed_sentences_are_wrapped_and_tables_are_not():
    printed = {
        text: hook_named("notebooks")._output(nbformat.v4.new_output("stream", text=text), "name", {})
        for text in ("a  b\n1  2", "From 1 to 100 " * 9)
    }
    assert [shown.partition("\n")[0] for shown in printed.values()] == ["```text", "```{ .text .wrapped }"]


def targets(text):
    """The local targets of a page: links, pictures, scripts, frames."""
    for value in re.findall(r'(?:href|src)="?([^"\s>]+)', re.sub(r"<(pre|code).*?</\1>", "", text, flags=re.DOTALL)):
        if not re.match(r"https?:|mailto:|data:|javascript:", value):
            yield html.unescape(value)


def test_every_link_of_the_site_leads_somewhere(site, built):
    places = {page: set(re.findall(r'\bid="?([^"\s>]+)', text)) for page, text in site.items()}
    wrong, found = [], 0
    for page, text in site.items():
        for target in set(targets(text)):
            found += 1
            path, _, place = unquote(target).partition("#")
            file = (built / page / path).resolve() if path else built / page
            if not file.exists() or not file.is_relative_to(built.resolve()):
                wrong.append(f"{page}: {target}")
            elif place and file.is_dir() and not place.startswith("__"):
                name = file.resolve().relative_to(built.resolve()).as_posix()
                if html.escape(place) not in places[name] and place not in places[name]:
                    wrong.append(f"{page}: {target} (no such place)")
    assert wrong == []
    assert found > 1000


def test_formulas_are_typeset(site):
    assert [page for page, text in site.items() if 'class="arithmatex"' in text] == []
    for page in ("ideas", "theorems", "theory", "optimizers", "glossary", "notebooks/1-the-question"):
        assert site[page].count("<math") > 3, page
    article = site["theory"].partition("<article")[2].partition("</article")[0]
    assert "$" not in article, "a formula in a table has no bar that ends its cell"


@pytest.mark.parametrize(
    ("latex", "pieces"),
    [
        ("x", ["(x)."]),
        ("(1 + b - a x^2)^2 - 4 b = |q - r|_1 + q^{-1}", ["((1+b-ax2)2-", "4b=", "|q-r|1+", "q-1)."]),
    ],
)
def test_a_long_formula_breaks_after_its_operators_and_keeps_what_stands_beside_it(latex, pieces):
    text = f'<p>as (<span class="arithmatex">\\({latex}\\)</span>). So</p>'
    shown = hook_named("formulas").on_page_content(text)
    found = [html.unescape(re.sub(r"<[^>]+>", "", one)) for one in re.findall(r'<span class="whole">.*?</span>', shown)]
    assert [one.replace("\N{MINUS SIGN}", "-") for one in found] == pieces


def test_words_of_theorems_and_optimizers_are_shown_as_they_are(site):
    """Nothing that hides a sign from Markdown is left on the page."""
    for page, words in (("theorems", "0 < lr L < 2"), ("optimizers", "Gradient descent.")):
        assert words in html.unescape(site[page])
        assert re.findall(r".{20}\\(?:&lt;|[*_|<>\[\]`$]).{20}", site[page]) == []


def test_long_signatures_have_one_argument_a_line(site):
    text = site["api/problems"].partition('id="quadsim.simulator.problems.quadratic.BlockQuadratic.generate"')[2]
    block = re.search(r"<code>(generate|<.*?)</code></pre>", text, re.DOTALL)[1]
    lines = html.unescape(re.sub(r"<[^>]+>", "", block)).strip().splitlines()
    assert len(lines) > 10
    assert max(map(len, lines)) < 90


def test_the_search_has_a_name_for_screen_readers(site):
    assert all(re.search(r'role="?dialog"? aria-label="Search"', text) for text in site.values())


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("plot", "gallery/"),
        ("own optimizer", "own-optimizer/"),
        ("momentum", "glossary/"),
        ("GPU", "gpu/"),
        ("phase diagram", "phase-diagram/"),
    ],
)
def test_the_search_knows(built, words, page):
    """The words of a query are in the index of the page that answers it; a browser types them below."""
    documents = json.loads((built / "search/search_index.json").read_text())["docs"]
    texts = [f"{one['title']} {one['text']}".lower() for one in documents if one["location"].startswith(page)]
    assert any(all(word in text for word in words.lower().split()) for text in texts)


def test_the_gallery_has_sixteen_figures_with_commands_that_parse(site, built):
    from quadsim.cli.app import app

    figures = re.findall(r"<figure>.*?</figure>", site["gallery"], re.DOTALL)
    assert len(figures) >= 16
    group = typer.main.get_command(app)
    for figure in figures:
        (picture,) = re.findall(r'<img[^>]*src="([^"]+)"', figure)
        assert (built / "gallery" / picture).stat().st_size < 60_000, picture
        (code,) = re.findall(r"<code>(.*?)</code></pre>", figure, re.DOTALL)
        name, *arguments = shlex.split(html.unescape(re.sub(r"<[^>]+>", "", code)))[1:]
        with group.commands[name].make_context(name, arguments):  # parses; nothing runs
            pass


@pytest.mark.parametrize(
    "name", [entry["name"] for entry in json.loads((ROOT / "docs/gallery/gallery.json").read_text())]
)
def test_a_figure_of_the_gallery_is_drawn_from_its_numbers(name):
    """All but the first are slow."""
    hook = hook_named("gallery")
    (entry,) = (one for one in hook.ENTRIES if one["name"] == name)
    with Image.open(io.BytesIO(hook.drawn(entry))) as picture:
        assert picture.width > 200
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50, "something is drawn"


def test_the_stored_numbers_of_the_gallery_are_small():
    stored = list((ROOT / "docs/gallery").iterdir())
    assert sum(path.stat().st_size for path in stored) < 300_000
    entries = json.loads((ROOT / "docs/gallery/gallery.json").read_text())
    names = {f"{entry['name']}.{suffix}" for entry in entries for suffix in ("csv", "json")}
    assert {path.name for path in stored} == names | {"gallery.json"}


def test_nothing_is_fetched_from_elsewhere(site):
    for page, text in site.items():
        assert not re.findall(r'(?:<script|<img|<link)[^>]*(?:src|href)="(?:https?:)?//', text), page


def shipped_texts():
    """The text of every module on one line, without the marks of comments and the quotes between joined strings."""
    for folder in ("simulator", "theory", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = re.sub(r"\s*\n\s*(?:# ?)?", " ", path.read_text())
            yield path.relative_to(ROOT).as_posix(), re.sub(r'" f?"', "", text)


def test_the_page_on_theory_has_eleven_sections():
    assert list(SECTIONS) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert all(re.match(r"\d+\. [A-Z]\w+", part) for part in SECTIONS.values())


def test_every_reference_to_the_page_on_theory_resolves():
    """A reference is "docs/theory.md section N", "docs/theory.md section N, NAME" or "docs/theory.md, NAME"."""
    wrong, found = [], 0
    for file, text in shipped_texts():
        references = list(REFERENCE.finditer(text))
        found += len(references)
        starts = {reference.start() for reference in references}
        wrong += [
            f"{file}: {text[m.start() : m.start() + 40]!r} is in none of the forms that the docstring of this test lists"
            for m in re.finditer(r"theory\.md", text)
            if m.start() not in starts
        ]
        for reference in references:
            numbers = {int(n) for n in reference.group("first", "last") if n}
            wrong += [f"{file}: docs/theory.md has no section {n}" for n in sorted(numbers - set(SECTIONS))]
            name = reference["name"] or reference["alone"]
            where = SECTIONS.get(min(numbers), "") if numbers else THEORY
            if name and not re.search(rf"(?<![\w-]){name}(?![\w-])", where):
                wrong.append(f"{file}: {name} does not occur where {reference.group()!r} points")
    assert wrong == []
    assert found > 20


def test_every_theorem_is_on_the_page_on_theory():
    missing = [n for n in quadsim.theory.THEOREMS if not re.search(rf"(?<![\w-]){n}(?![\w-])", THEORY)]
    assert missing == []


def test_the_page_of_streams_holds_the_stored_rows_of_the_gate():
    from quadsim.cli.text.draws_table import placed

    page, stored = ((ROOT / "docs" / name).read_text() for name in ("streams.md", "draws.csv"))
    assert placed(page, stored) == page
    assert ",refuted\n" not in stored


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(built):
    """The site behind a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=built))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


UNREACHED = """[...document.querySelectorAll(".md-typeset__scrollwrap")].filter(
    (place) => place.scrollWidth > place.clientWidth && place.tabIndex < 0).length"""  # wide tables, for the keyboard


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1400])
def test_pages_fit_and_ask_for_nothing_elsewhere(browser, address, width):
    for mode in ("light", "dark"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
        page, said = context.new_page(), []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("request", lambda r, said=said: None if r.url.startswith((address, "data:")) else said.append(r.url))
        for name in ("", "tutorial/", "gallery/", "theorems/", "api/problems/", "command-line/", "streams/", "theory/"):
            page.goto(address + name)
            page.evaluate("document.querySelectorAll('details').forEach((folded) => folded.open = true)")
            page.wait_for_timeout(100)
            assert page.evaluate(UNREACHED) == 0, (name, width, mode)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (name, width, mode)
        assert said == []
        context.close()


@pytest.mark.browser
def test_the_picture_of_the_home_page_moves(browser, address):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(address)
    inside = page.frame_locator("iframe.dials")
    inside.locator("#answer").get_by_text("reaches").wait_for()
    before = inside.locator("#answer").inner_text()
    inside.get_by_role("slider", name="Heterogeneity of the blocks").press("Home")
    inside.locator("#answer").get_by_text(before).wait_for(state="detached")
    assert inside.get_by_role("slider").count() == 3, "the small view has three dials"
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        hidden = page.frames[1].evaluate("document.documentElement.scrollHeight - innerHeight")
        assert hidden <= 0, f"the frame hides {hidden} pixels of its page at {width}"
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("words", "page"), [("plot", "gallery"), ("own optimizer", "own-optimizer"), ("momentum", ""), ("GPU", "gpu")]
)
def test_the_search_finds(browser, address, words, page):
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    opened.goto(address + "tutorial/")
    field, links = opened.locator("input.md-search__input"), opened.locator(".md-search-result__item a")
    field.fill(words)
    for _ in range(120):  # the theme asks at a key, and hears none before its index is ready
        field.press("End")
        opened.wait_for_timeout(250)
        if links.count():
            break
    found = links.evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert any(f"/{page}/" in one for one in found[:12]) if page else found, found[:12]
    opened.close()
