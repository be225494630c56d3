"""Reports in a browser: they load by themselves, sort, fit a phone, and print."""

import pytest
from documents import HOSTILE, claim, claims_document, report, verify_document, write
from PIL import Image

from quadsim.cli.pages import write_report
from quadsim.simulator import SweepConfig, sweep
from quadsim.theory import THEOREMS, judge

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """One of each kind, wide and with texts of strangers."""
    folder = tmp_path_factory.mktemp("browser")
    config = SweepConfig(
        heterogeneity=(1, 4, 30), seeds=2, steps=120, blocks=(2,), block_size=(3,), optimizers=("heavy-ball", "gd")
    )
    sweep(config, judge, out=folder / "sweep")
    write(folder / "verify", "verify.json", verify_document(*map(report, THEOREMS), report(HOSTILE)))
    long = "a_very_long_name_without_any_blank_in_it_" * 4
    write(folder / "claims", "claims.json", claims_document(claim(figure="wide.png"), claim(HOSTILE, long, claim=long)))
    Image.new("RGB", (1900, 300), "red").save(folder / "claims/wide.png")
    return {name: write_report(folder / name) for name in ("sweep", "verify", "claims")}


@pytest.fixture
def opened(browser, reports):
    """Open a report at some width; fails in the end on anything in the console and on any request but for the file."""
    pages, said, asked = [], [], []

    def open_(name, width=1400, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(reports[name].as_uri())
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} <= {path.as_uri() for path in reports.values()}


def column(page, number):
    return page.locator("table").first.locator(f"tbody tr td:nth-child({number})").all_inner_texts()


def test_headings_sort_up_down_and_back(opened):
    page = opened("sweep")
    first = page.locator("table").first
    place = first.locator("th[scope=col]").all_inner_texts().index("median steps")
    before = column(page, place + 1)
    assert sorted(before) != before
    assert any(text.startswith("> ") for text in before)
    heading = first.locator("th[scope=col]").nth(place)
    assert heading.get_attribute("aria-sort") == "none"
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    reached = [float(text) for text in column(page, place + 1) if not text.startswith("> ")]
    assert column(page, place + 1) == [f"{value:g}" for value in sorted(reached)] + ["> 120"] * (
        len(before) - len(reached)
    )
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    down = [f"{value:g}" for value in sorted(reached, reverse=True)]
    assert column(page, place + 1) == down + ["> 120"] * (len(before) - len(reached))
    heading.locator("button").press("Space")
    assert column(page, place + 1) == before
    first.locator("th").nth(1).locator("button").click()
    assert column(page, 2) == sorted(column(page, 2))


def test_missing_numbers_come_last_whichever_way(opened):
    page = opened("claims")
    table = page.get_by_role("table", name="What was measured").first
    for direction in (["3", "14.2", ""], ["14.2", "3", ""]):
        table.locator("th").nth(1).locator("button").click()
        assert table.locator("tbody tr td:nth-child(2)").all_inner_texts() == direction


def test_nothing_is_wider_than_a_phone_and_figures_and_formulas_show(opened):
    for name in ("sweep", "verify", "claims"):
        page = opened(name, width=390, color_scheme="dark")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        heights = page.evaluate("[...document.querySelectorAll('math')].map(one => one.getBoundingClientRect().height)")
        assert min(heights, default=9) > 5
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, paper[4:-1].split(", "))) < 60, "dark where dark is asked for"


def test_print_shows_everything_on_white(opened):
    page = opened("verify", color_scheme="dark")
    document = page.pdf(format="A4")
    assert document.startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown = page.evaluate(
        "[...document.querySelectorAll('details')].map(one => one.lastElementChild.checkVisibility())"
    )
    assert len(shown) > 40
    assert all(shown), "by the style alone, without the script"
    for event, number in {"beforeprint": len(shown), "afterprint": 0}.items():
        page.evaluate(f"window.dispatchEvent(new Event('{event}'))")
        assert page.locator("details[open]").count() == number, event
