"""A browser without a screen: follows redirects, keeps cookies, fills in and submits the forms of a page."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin

import httpx


@dataclass(slots=True)
class Form:
    """A form of a page with the values it would send as it stands."""

    method: str
    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, value and text of each submit button."""


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._open: Form | None = None
        self._button: tuple[str, str] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(given.get("method", "get").upper(), given.get("action", ""))
            self.forms.append(self._open)
        elif self._open is None:
            return
        elif tag == "input" and given.get("name"):
            kind = given.get("type", "text")
            if kind in ("checkbox", "radio") and "checked" not in given:
                return
            if kind != "submit":
                self._open.fields.append((given["name"], given.get("value", "on")))
        elif tag == "button":
            self._button, self._text = (given.get("name", ""), given.get("value", "")), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "button" and self._button is not None and self._open is not None:
            self._open.buttons.append((*self._button, " ".join(self._text.split())))
            self._button = None


def forms_of(page: str) -> list[Form]:
    """The forms of an HTML page, in order."""
    parser = _Forms()
    parser.feed(page)
    return parser.forms


class Browser:
    """One person's browser session."""

    def __init__(self, cookies: Mapping[str, str] | None = None) -> None:
        """Start with these cookies, which go to every site, or with none."""
        self._http = httpx.Client(follow_redirects=True, timeout=30, cookies=dict(cookies or {}))
        self.page: httpx.Response | None = None

    def open(self, url: str) -> httpx.Response:
        """Go to a page, following redirects."""
        self.page = self._http.get(url)
        return self.page

    def press(self, button: str, fill: Mapping[str, str] | None = None) -> httpx.Response:
        """Submit the form that has a button with this text (or the nearest to it).

        Raises:
            LookupError: the page has no such button; the message lists those it has.
        """
        if self.page is None:
            raise LookupError("no page is open")
        seen: list[str] = []
        for form in forms_of(self.page.text):
            for name, value, text in form.buttons:
                seen.append(text)
                if text != button:
                    continue
                data = dict(form.fields) | ({name: value} if name else {}) | dict(fill or {})
                url = urljoin(str(self.page.url), form.action)
                # A browser names its own origin on every POST; the services check it.
                origin = f"{self.page.url.scheme}://{self.page.url.netloc.decode()}"
                self.page = (
                    self._http.post(url, data=data, headers={"Origin": origin})
                    if form.method == "POST"
                    else self._http.get(url, params=data)
                )
                return self.page
        raise LookupError(
            f"no button {button!r} on {self.page.url}: there is {seen}; {self.page.text[:400]}"
        )

    def close(self) -> None:
        """End the session."""
        self._http.close()
