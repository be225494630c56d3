"""The page of `quadsim explore` in a browser: keyboard, address, redrawing, narrow screens, and no request but for the file."""

import json

import numpy as np
import pytest
from cases import own_file

from quadsim.cli.pages.explore.page import explore_html
from quadsim.simulator import BlockQuadratic, Rule, load_optimizer_file, simulate, symbols
from quadsim.simulator.rules.optimizer import OptimizerSpec

pytestmark = pytest.mark.browser

EVIL = Rule(name="</option><b onfocus=alert(1)>", step=-symbols.lr * symbols.g, summary="<img src=x onerror=alert(1)>")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    own = [EVIL, *load_optimizer_file(own_file("mine.py:AMSGRAD"))]
    path = tmp_path_factory.mktemp("explore") / "explore.html"
    path.write_text(
        explore_html([OptimizerSpec.parse("gd"), OptimizerSpec.parse("adam")], own, "mine.py"), encoding="utf-8"
    )
    return path


def until(page, condition):
    """Wait for a condition. Playwright's own function needs `eval` where it waits, which the content policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{condition} did not come true")


def rested(page):
    """Wait until the dials rest, so that answer and address are written."""
    until(page, "waiting === 0 && resting === 0")


@pytest.fixture
def opened(browser, file):
    """Open the page with a view in its address; fails in the end on anything in the console and on any request but for the file."""
    pages, said, asked = [], [], []

    def open_(view="", width=1400, **options):
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
        page.goto(file.as_uri() + view)
        until(page, "document.querySelector('#answer').textContent !== ''")
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} <= {file.as_uri()}


def test_the_curves_are_those_of_python(opened):
    page = opened(
        "#heterogeneity=20&condition=5&rotation=0.5&alignment=-0.5&seed=4&steps=50&optimizer=adam:rate=-1:beta1=0.5"
    )
    run = json.loads(page.evaluate("JSON.stringify({ gap: [...result.runs[0].gap], lr: result.runs[0].lr })"))
    problem = BlockQuadratic.generate(
        blocks=3, block_size=3, heterogeneity=20, condition_number=5, rotation=0.5, alignment=-0.5, seed=4
    )
    wanted = simulate(problem, "adam", lr=run["lr"], beta1=0.5, steps=50, record="all").gap[0, 0]
    np.testing.assert_allclose(run["gap"], wanted, rtol=1e-10)
    names = {}
    exec(page.locator("#code").text_content(), names)
    np.testing.assert_array_equal(names["problem"].eigenvalues[3], problem.eigenvalues[3])
    np.testing.assert_allclose(names["run"].gap[0, 0, -1], wanted[-1], rtol=1e-10)


def test_every_control_has_a_name_and_can_be_moved_by_keys(opened):
    page = opened()
    names = page.evaluate(
        "[...document.querySelectorAll('input, select')].map(one => [...one.labels].map(label => label.textContent.trim()).join())"
    )
    assert len(names) > 12
    assert all(names)
    buttons = page.get_by_role("button").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label') || one.textContent)"
    )
    assert all(buttons)
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none" or page.evaluate("document.activeElement === document.body"), reached
    assert {
        "dial-heterogeneity",
        "dial-rotation",
        "hold",
        "dial-batch",
        "optimizer-1",
        "optimizer-2-beta1",
        "add",
        "play",
    } <= reached
    dial = page.get_by_role("slider", name="Heterogeneity of the blocks")
    before = page.inner_text("#answer")
    assert dial.get_attribute("aria-valuetext") == "100 : 1"
    dial.press("ArrowRight")
    rested(page)
    assert dial.get_attribute("aria-valuetext") == "112 : 1"
    assert page.inner_text("#answer") != before, "a live region says what changed"
    assert page.get_by_role("status").count() == 1
    assert page.get_by_role("img").count() == 3


def test_moves_within_a_frame_are_drawn_once(opened):
    page = opened()
    rested(page)
    drawn = page.evaluate(
        """() => new Promise((done) => {
          const dial = document.getElementById("dial-heterogeneity"), before = redraws;
          for (let k = 0; k < 20; k++) { dial.value = k / 10; dial.dispatchEvent(new Event("input")); }
          requestAnimationFrame(() => requestAnimationFrame(() => done([redraws - before, state.dials.heterogeneity])));
        })"""
    )
    assert drawn == [1, 79.4]


def test_a_view_is_in_the_address(opened):
    page = opened()
    page.select_option("#optimizer-1", "lion")
    page.get_by_role("slider", name="Batch").press("ArrowLeft")
    page.get_by_label("Hold the alignment").check()
    page.locator("#optimizer-1-beta2").press("End")
    page.get_by_role("button", name="Add an optimizer").click()
    page.select_option("#optimizer-3", EVIL.name)
    rested(page)
    address = page.evaluate("location.hash")
    again = opened(address)
    assert again.evaluate("JSON.stringify(state.optimizers)") == page.evaluate("JSON.stringify(state.optimizers)")
    assert again.evaluate("JSON.stringify(state.dials)") == page.evaluate("JSON.stringify(state.dials)")
    assert again.inner_text("#results tbody") == page.inner_text("#results tbody")
    assert EVIL.name in page.inner_text("#legend"), "a name is text"
    page.get_by_role("button", name="Reset all").click()
    rested(page)
    assert page.evaluate("state.optimizers.map(one => one.name).join()") == "gd,adam"


def test_a_broken_address_leaves_defaults(opened):
    page = opened(
        "#heterogeneity=-3&rotation=2&seed=x&batch=7&steps=&alignment=&=&%&optimizer=nope:rate=1&optimizer=adam:beta1=1:%E0=2:rate=9"
    )
    assert page.evaluate("JSON.stringify([state.dials, state.steps])") == page.evaluate(
        "JSON.stringify([initialState().dials, initialState().steps])"
    )
    assert page.evaluate("JSON.stringify(state.optimizers)") == '[{"name":"adam","rate":0,"settings":{}}]'
    assert "Not on this page: nope" in page.inner_text("#answer")


def test_play_ends_and_can_be_stopped(opened):
    page = opened()
    page.get_by_role("button", name="Play the steps").click()
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("button", name="Play the steps").count() == 1
    assert page.evaluate("playing === 0 && shown === state.steps")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_every_curve_can_be_seen(opened, scheme):
    page = opened(
        "#optimizer=gd&optimizer=adagrad&optimizer=normalized-gd&optimizer=rmsprop", width=390, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    painted = page.evaluate(
        """[...document.querySelectorAll("canvas")].map((canvas) => {
          const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return data.some((value, k) => k % 4 === 3 && value > 0);
        })"""
    )
    assert len(painted) == 3 + 4
    assert all(painted)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, paper[4:-1].split(", "))) < 60) == (scheme == "dark")
    faint = page.evaluate("result.runs.filter(run => isFaint(run.look.color)).length")
    assert faint == {"light": 3, "dark": 0}[scheme], "these get an outline"
