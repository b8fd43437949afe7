"""What a browser is told to do with our session and our pages when people reach us by https."""

from http.cookies import SimpleCookie
from types import SimpleNamespace

import pytest
from starlette.responses import Response

from connector.handlers import browser
from connector.handlers.browser import new_session, remember_session

SECURE = SimpleNamespace(secure=True, frame_ancestors="'none'")


def test_over_https_the_session_cookie_is_for_this_host_alone():
    response = Response()
    session = new_session()
    remember_session(response, SECURE, session)
    (cookie,) = SimpleCookie(response.headers["set-cookie"]).values()
    # Browsers take this prefix from https only, with this path and without a domain.
    assert (cookie.key, cookie.value) == ("__Host-xero_session", session)
    assert (cookie["path"], cookie["domain"]) == ("/", "")
    assert cookie["secure"] is True
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "lax"
    assert new_session() != session


@pytest.mark.parametrize("secure", [True, False])
def test_over_https_pages_ask_for_https_only(secure, monkeypatch):
    monkeypatch.setattr(browser, "part", lambda *_: "")
    settings = SimpleNamespace(secure=secure, frame_ancestors="'none'")
    page = browser.render(SimpleNamespace(settings=settings), browser.PageOf("card.html", {}))
    assert ("strict-transport-security" in page.headers) is secure
