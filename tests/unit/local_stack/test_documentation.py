import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from connector.domain.failures import PAGES
from pipeline_local_stack import documentation
from pipeline_local_stack.documentation import REASONS, build, reasons_page
from pipeline_local_stack.paths import ROOT, StackError


@pytest.fixture(scope="module")
def site() -> Path:
    return build().parent


def test_the_page_of_reasons_is_what_the_code_says() -> None:
    assert REASONS.read_text("utf-8") == reasons_page(), "run `make docs`"


def test_every_page_has_one_place_in_the_navigation() -> None:
    placed = sorted(_targets(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    pages = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert placed == sorted([*pages, "architecture.md", "changelog.md"])


def _targets(entries: list[object]) -> list[str]:
    found: list[str] = []
    for entry in entries:
        for target in entry.values():
            found += [target] if isinstance(target, str) else _targets(target)
    return found


class _Loaded(HTMLParser):
    """What a browser loads by itself when it opens a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = {"script": "src", "img": "src", "link": "href", "iframe": "src"}.get(tag)
        if wanted and given.get("rel") != "canonical" and (address := given.get(wanted)):
            self.addresses.append(address)


def test_opening_a_page_loads_nothing_from_anybody(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        loaded = _Loaded()
        loaded.feed(page.read_text("utf-8"))
        # The page about the events loads nothing at all.
        assert loaded.addresses or page.parent.name == "contracts", page
        assert not [each for each in loaded.addresses if re.match(r"(https?:)?//", each)], page


def test_a_link_that_leads_nowhere_stops_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def plant(target: Path) -> None:
        real(target)
        (target / "index.md").write_text("[gone](guide/nowhere.md)")

    real = documentation.assemble
    monkeypatch.setattr(documentation, "assemble", plant)
    with pytest.raises(StackError, match=r"nowhere\.md"):
        build()


def test_links_out_of_the_pages_become_paths(tmp_path: Path) -> None:
    documentation.assemble(tmp_path / "pages")
    text = (tmp_path / "pages" / "runbooks" / "webhooks.md").read_text()
    assert "`deploy/prometheus/payment-ingest.yaml`" in text
    assert "](../../deploy" not in text
    assert (
        "](runbooks/rotate-token-keys.md)" in (tmp_path / "pages" / "architecture.md").read_text()
    )


def test_the_guide_names_the_pages_people_see_when_connecting_fails() -> None:
    guide = (ROOT / "docs" / "guide" / "connecting.md").read_text("utf-8")
    table = guide[guide.index("| the page says |") : guide.index("The sign-in takes place")]
    named = [line.split("|")[1].strip() for line in table.splitlines()[2:] if line.startswith("|")]
    titles = {page.title.removeprefix("Not connected: ") for page in PAGES.values()}
    assert len(named) >= 5
    assert set(named) <= titles
