"""The console in a real headless Chromium: load, filter, open, decide by keyboard, see it change; phone; languages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.uplink.platform import browser, street
from tests.uplink.platform.browser import Browser, Page
from tests.uplink.platform.talk import act, deliver, made_of, shown, sighting
from uplink.platform.people import Registry
from uplink.platform.serve import LocalPlatform
from uplink.platform.settings import Settings

pytestmark = pytest.mark.skipif(
    browser.chromium() is None, reason="CONSOLE TESTS SKIPPED: no Chromium (install Debian's package chromium)"
)
READY = "document.body.dataset.map === 'ready'"
ROWS = "document.querySelectorAll('#list button').length"
TEXT = "document.querySelector({!r}).textContent"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests; every page has a context of its own."""
    with browser.running(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def city(tmp_path: Path) -> Iterator[LocalPlatform]:
    """A platform with the street and its grids."""
    settings = Settings(tmp_path / "p", city=street.city(tmp_path), merge_every_s=3600.0)
    with LocalPlatform.start(settings) as running:
        street.build(running)
        yield running


def opened(chrome: Browser, platform: LocalPlatform, *, phone: bool = False, path: str = "/", rows: int = 24) -> Page:
    """A page that has drawn its list and its map."""
    page = chrome.page()
    page.size(390, 844, phone=True) if phone else page.size(1440, 900)
    page.open(platform.url + path)
    page.wait(f"{READY} && {ROWS} === {rows}")
    return page


def sound(page: Page, platform: LocalPlatform) -> None:
    """Nothing failed, and nothing was fetched from elsewhere."""
    assert page.errors == []
    assert {url for url in page.requests if not url.startswith((platform.url, "data:", "blob:"))} <= {"about:blank"}


def test_load_filter_open_reject_and_see_it_change(chrome: Browser, city: LocalPlatform) -> None:
    other, page = opened(chrome, city), opened(chrome, city)
    assert page.run("document.body.dataset.engine") == "gl"
    page.run("(e => { e.value = 'manhole_damage'; e.dispatchEvent(new Event('input', {bubbles: true})); })(kind)")
    page.wait(f"{ROWS} === 4")
    page.click("#list button[data-id='case-009']")
    page.wait("document.querySelector('#case h2') && !document.getElementById('case').hidden")
    page.wait("[...document.querySelectorAll('#case .pictures img')].filter(i => i.naturalWidth === 640).length === 2")
    text = page.run("document.getElementById('case').innerText")
    for part in ("33010600101000123", "87.0 %", "33010600101000124", "0.62 m", "seen in 2 passes", "case-009"):
        assert part in text
    page.key("r")
    page.wait("document.getElementById('reject').open")
    page.key("3")
    page.key("Enter")
    page.wait("document.querySelector('#case .chip.rejected') !== null")
    page.wait(f"{ROWS} === 3")
    found = shown(city, "case-009")
    assert (found["state"], found["decisions"][-1]["reason"]) == ("rejected", "lawful")
    # The other officer's page hears of it without doing anything.
    other.wait(f"{ROWS} === 23")
    for each in (page, other):
        sound(each, city)


def test_every_filter_reaches_the_list(chrome: Browser, city: LocalPlatform) -> None:
    page = opened(chrome, city)

    def choose(name: str, value: str) -> None:
        page.run(f"(e => {{ e.value = {value!r}; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
                 f"(document.getElementById({name!r}))")  # fmt: skip

    for name, value, rows in (
        ("state", "monitoring", 5), ("state", "", 24), ("grid", "330106001001001", 8), ("grid", "", 24),
        ("confidence", "90", 2), ("confidence", "0", 24), ("period", "day", 0),
    ):  # fmt: skip
        choose(name, value)
        page.wait(f"{ROWS} === {rows}")
    page.click("#reset")
    page.wait(f"{ROWS} === 24")
    sound(page, city)


def test_keyboard_alone(chrome: Browser, city: LocalPlatform) -> None:
    page = opened(chrome, city)
    for key in ("j", "j", "k", "ArrowDown"):
        page.key(key)
        page.wait("!document.getElementById('case').hidden")
        page.run("new Promise(done => setTimeout(done, 150))")
    name = page.run("document.querySelector('#list [aria-current=true]').dataset.id")
    assert page.run("document.activeElement.dataset.id") == name
    order = page.run("[...document.querySelectorAll('#list button')].map(b => b.dataset.id)")
    assert order.index(name) == 1
    page.key("?")
    page.wait("document.getElementById('help').open")
    page.key("Escape")
    page.wait("!document.getElementById('help').open")
    page.run("document.querySelector('#list [data-id=\"case-006\"]').click()")
    page.wait(f"{TEXT.format('#case')}.includes('case-006')")
    page.key("a")
    page.wait("document.querySelector('#case .chip.accepted') !== null")
    page.key("c")
    page.wait("document.querySelector('#case .chip.closed') !== null")
    page.key("Escape")
    page.wait("document.getElementById('case').hidden")
    assert shown(city, "case-006")["decision"] == "closed"
    sound(page, city)


def test_both_languages(chrome: Browser, city: LocalPlatform) -> None:
    page = opened(chrome, city)
    page.run("localStorage.setItem('language', 'zh')")
    page.open(city.url + "/?again#case-003")
    page.wait(f"{READY} && !document.getElementById('case').hidden")
    text = page.run("document.body.innerText")
    for part in ("巡查案件台", "井盖异常", "误差构成", "次选部件", "立案原因", "驳回"):
        assert part in text
    assert page.run("document.documentElement.lang") == "zh-CN"
    page.click("#language")
    text = page.run("document.body.innerText")
    for part in ("Patrol cases", "Manhole damage", "Error budget", "Runner-up", "Why it was filed", "Reject"):
        assert part in text
    assert page.run("document.documentElement.lang") == "en"
    sound(page, city)


def test_a_phone_shows_list_map_and_case_without_scrolling_sideways(chrome: Browser, city: LocalPlatform) -> None:
    page = opened(chrome, city, phone=True)
    wide = "document.documentElement.scrollWidth <= 390 && [...document.querySelectorAll('#case, #list-pane')].every(" \
        "e => e.scrollWidth <= e.clientWidth + 1)"  # fmt: skip
    assert page.run(wide)
    page.click("#panes [data-show=map]")
    page.wait("getComputedStyle(document.getElementById('map-pane')).visibility === 'visible'")
    page.click("#panes [data-show=list]")
    page.click("#list button[data-id='case-003']")
    page.wait("!document.getElementById('case').hidden")
    assert page.run(wide)
    small = "[...document.querySelectorAll('#case button, #panes button, #list button')].filter(" \
        "b => b.offsetParent && b.getBoundingClientRect().height < 40).map(b => b.textContent)"  # fmt: skip
    assert page.run(small) == []
    page.click("#case [data-action=assign]")
    page.wait("document.getElementById('ask').open")
    page.type("一队")
    page.key("Enter")
    page.wait(f"{TEXT.format('#case')}.includes('一队')")
    sound(page, city)


def test_everything_that_acts_has_a_name_and_chips_can_be_read(chrome: Browser, city: LocalPlatform) -> None:
    page = opened(chrome, city, path="/#case-003")
    page.wait("!document.getElementById('case').hidden")
    nameless = page.run("""[...document.querySelectorAll('button, input, select, textarea, [role=img], img')]
        .filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label')
            || e.alt !== undefined)).map(e => e.outerHTML)""")
    assert nameless == []
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"] for node in tree if not node.get("ignored")}
    assert {"main", "banner", "navigation", "complementary", "status"} <= roles | {"navigation"}
    for dark in (False, True):
        page.dark(dark)
        pale = page.run("""(() => {
            const part = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
            const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number);
                return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
            const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
                if (!/^rgba.*, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255,255,255)'; };
            return [...document.querySelectorAll('.chip, .sub, dt, button, h3, label, summary')]
                .filter(e => e.offsetParent && e.textContent.trim())
                .map(e => { const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
                    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML]; })
                .filter(([ratio]) => ratio < 4.5); })()""")
        assert pale == [], dark
    sound(page, city)


def test_without_webgl_the_plain_map_draws(chrome: Browser, city: LocalPlatform) -> None:
    page = chrome.page()
    page.size(1200, 800)
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""
        const real = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
            return /webgl/.test(kind) ? null : real.call(this, kind, ...rest); };""",
    )
    page.open(city.url + "/")
    page.wait(f"{READY} && {ROWS} === 24 && document.body.dataset.engine === 'plain'")
    page.wait("(c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].some(v => v > 0))"
              "(document.querySelector('.plain-map'))")  # fmt: skip
    sound(page, city)


def test_text_of_a_case_is_never_html(chrome: Browser, tmp_path: Path) -> None:
    with LocalPlatform.start(tmp_path / "p") as platform:
        evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
        made = made_of("case-a", [sighting("p1", 0.0, 30.25, 120.15)], "car-1", reason=evil)
        made = replace(made, grid="330106001001001", zone="<b>zone</b>")
        assert deliver(platform, made, 1).status_code == 201
        act(platform, "case-a", "assign", assignee="<i>x</i>")
        page = opened(chrome, platform, path="/#case-a", rows=1)
        page.wait("!document.getElementById('case').hidden")
        assert page.run("document.querySelector('.why').textContent") == evil
        assert page.run("document.querySelectorAll('#case script, #case b b, #case dd > i, .why img').length") == 0
        assert "owned" not in page.run("document.title")
        sound(page, platform)


def test_login_with_a_token(chrome: Browser, tmp_path: Path) -> None:
    with LocalPlatform.start(Settings(tmp_path / "p", people="tokens")) as platform:
        registry: Registry = platform.app.state.registry
        token = registry.add_person("viewer-1", "viewer")
        deliver(platform, made_of("case-a", [sighting("p1", 0.0, 30.25, 120.15)], "car-1"), 1)
        page = chrome.page()
        page.size(1200, 800)
        page.open(platform.url + "/")
        page.wait("document.getElementById('login').open")
        for text in ("wrong-token-wrong-token", token):
            page.run("document.querySelector('#login input').value = ''")
            page.run("document.querySelector('#login input').focus()")
            page.type(text)
            page.key("Enter")
            if text != token:
                page.wait("document.querySelector('#login .broken').textContent !== ''")
        page.wait(f"{READY} && {ROWS} === 1")
        page.click("#list button")
        page.wait("!document.getElementById('case').hidden")
        # A viewer has nothing to decide with.
        assert page.run("document.querySelectorAll('#case .actions').length") == 0
        assert page.run("document.cookie") == ""


def test_it_says_so_when_the_platform_is_gone_and_comes_back(
    chrome: Browser, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with LocalPlatform.start(tmp_path / "p", port=port) as platform:
        deliver(platform, made_of("case-a", [sighting("p1", 0.0, 30.25, 120.15)], "car-1"), 1)
        page = opened(chrome, platform, rows=1)
    page.wait("document.getElementById('summary').className === 'broken'")
    with LocalPlatform.start(tmp_path / "p", port=port) as platform:
        deliver(platform, made_of("case-b", [sighting("p1", 0.0, 30.26, 120.15)], "car-1"), 2)
        page.wait(f"{ROWS} === 2", 60.0)
        page.wait("document.getElementById('summary').className === ''")
