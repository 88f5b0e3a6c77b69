"""The console's files: served, complete, self-contained. How it looks and works in a browser is seen in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import requests

from perception.catalogue import load_catalogue
from uplink.platform.serve import LocalPlatform

CONSOLE = Path(__file__).parents[3] / "uplink" / "platform" / "console"
FILES = sorted(path.name for path in CONSOLE.iterdir() if path.is_file())


def test_the_page_and_all_it_names_are_served(embedded: LocalPlatform) -> None:
    page = requests.get(embedded.url + "/", timeout=5)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    named = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    assert {Path(name).name for name in named} >= {"console.js", "style.css", "icon.svg"}
    for name in FILES:
        assert requests.get(f"{embedded.url}/static/{name}", timeout=5).content == (CONSOLE / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_fetched_from_elsewhere_and_no_text_becomes_html(name: str) -> None:
    text = (CONSOLE / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|innerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_both_languages_know_the_same_words_and_every_kind_has_a_chinese_one() -> None:
    text = (CONSOLE / "words.js").read_text(encoding="utf-8")
    table = text[text.index("zh: {") : text.index("};")]
    chinese, english = (set(re.findall(r'(\w+): "', half.split("changes:")[0])) for half in table.split("  en: {"))
    kinds = set(load_catalogue(Path(__file__).parents[3] / "models").kinds)
    assert kinds <= chinese
    # English names of kinds are made from the kinds themselves.
    assert chinese - kinds == english
