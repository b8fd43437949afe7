"""The permissions asked of Xero: which, and what each of them means to a person."""

from typing import Final

WORDS_OF_SCOPE: Final[dict[str, str]] = {
    "openid": "confirm who signed in to Xero",
    "profile": "read the name of the person who signed in",
    "email": "read the e-mail address of the person who signed in",
    "offline_access": "stay connected while nobody is signed in",
    "accounting.invoices": "read and write invoices",
    "accounting.payments.read": "read payments",
    "accounting.contacts": "read and write contacts",
    "accounting.settings.read": "read the organisation's settings, such as accounts and tax rates",
}
"""Each to be read after "Pipeline may …". Source: developer.xero.com, OAuth 2.0 scopes (granular since 2 March 2026)."""

SCOPES: Final = tuple(WORDS_OF_SCOPE)
"""The least that does the work, in the order in which it is asked for."""


API_SCOPES: Final = tuple(scope for scope in SCOPES if scope.startswith("accounting."))


def missing_scopes(granted: str) -> tuple[str, ...]:
    """The permissions on Xero's API that were asked for and not granted; a grant may hold more than we asked.

    The sign-in scopes are not looked for: a reply's `scope` describes the access token (RFC 6749 §5.1), and a provider
    that follows OpenID Connect Core §11 to the letter leaves offline_access out. Their id token and refresh token, without
    which no reply is taken, prove them.
    """
    held = frozenset(granted.split())
    return tuple(scope for scope in API_SCOPES if scope not in held)
