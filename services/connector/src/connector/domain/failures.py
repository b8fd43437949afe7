"""Every way connecting can end other than well, as a page: what happened, whose move it is, one button."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Failure(StrEnum):
    """The name of a failure, as it appears in the address of its page and in logs."""

    CANCELLED = "consent-cancelled"
    STATE_MISSING = "link-incomplete"
    STATE_UNKNOWN = "link-expired"
    STATE_USED = "already-used"
    OTHER_BROWSER = "other-browser"
    NOT_SIGNED_IN = "signed-out"
    FORM_EXPIRED = "form-expired"
    NOT_ALLOWED = "not-allowed"
    CODE_REJECTED = "code-expired"
    CLIENT_REJECTED = "app-rejected"
    XERO_DOWN = "xero-unavailable"
    XERO_REFUSED = "xero-refused"
    UNTRUSTED = "answer-not-trusted"
    SCOPES_MISSING = "permissions-missing"
    NO_ORGANISATION = "no-organisation"
    CHOICE_EXPIRED = "choice-expired"
    WRONG_ORGANISATION = "different-organisation"
    TAKEN = "organisation-in-use"
    REFRESH_REJECTED = "refresh-rejected"
    REFRESH_UNAVAILABLE = "refresh-delayed"
    NOTHING_TO_REFRESH = "nothing-to-refresh"
    CONNECTION_CAP = "connection-limit"
    NOT_FOUND = "not-found"
    REQUEST_REFUSED = "request-refused"
    TOO_MANY_REQUESTS = "too-many-requests"
    UNEXPECTED = "unexpected"


class Button(StrEnum):
    """What the page's one button does."""

    CONNECT = "Connect to Xero"
    CARD = "Back to the Xero card"
    CONTINUE = "Continue"


@dataclass(frozen=True, slots=True)
class Page:
    """The words of one failure page."""

    title: str
    happened: str
    next_move: str
    button: Button = Button.CONNECT
    status: int = 200


PAGES: Final[dict[Failure, Page]] = {
    Failure.CANCELLED: Page(
        "Not connected: consent was cancelled",
        "In Xero, access was not given. Nothing has changed.",
        "Your move: start again whenever you like, and choose Allow access.",
    ),
    Failure.STATE_MISSING: Page(
        "Not connected: the answer was incomplete",
        "The page was opened without the details that Xero normally sends along.",
        "Your move: start again from here.",
        status=400,
    ),
    Failure.STATE_UNKNOWN: Page(
        "Not connected: this attempt has expired",
        "Connecting has to be finished within 15 minutes, and this attempt is older or not known.",
        "Your move: start again from here.",
        status=400,
    ),
    Failure.STATE_USED: Page(
        "This attempt was already used",
        "The answer from Xero was opened a second time, for example by reloading the page or in a second tab. "
        "It only counts once.",
        "Your move: look at the Xero card to see how the first time ended.",
        Button.CARD,
        status=400,
    ),
    Failure.OTHER_BROWSER: Page(
        "Not connected: this was begun elsewhere",
        "The attempt began in another browser, under another sign-in, or before the cookies were cleared, so it "
        "cannot be finished here.",
        "Your move: start again here.",
        status=400,
    ),
    Failure.NOT_SIGNED_IN: Page(
        "Not connected: you are signed out of Pipeline",
        "Pipeline does not know you in this browser any more, so the answer from Xero was not used.",
        "Your move: sign in to Pipeline, in another tab if you like, and press Continue; then Connect to Xero again.",
        Button.CONTINUE,
        status=401,
    ),
    Failure.FORM_EXPIRED: Page(
        "Nothing was done: the page was too old",
        "The button was pressed on a page that does not belong to your present session.",
        "Your move: go back to the card and press the button there.",
        Button.CARD,
        status=403,
    ),
    Failure.NOT_ALLOWED: Page(
        "Nothing was done: this needs an administrator",
        "Your role in Pipeline lets you see the connection but not change it.",
        "An administrator's move: ask one to do this.",
        Button.CARD,
        status=403,
    ),
    Failure.CODE_REJECTED: Page(
        "Not connected: Xero's one-time code had expired",
        "Xero gives a code that is valid for five minutes and for one use; it came too late or was used before.",
        "Your move: start again from here.",
    ),
    Failure.CLIENT_REJECTED: Page(
        "Not connected: Xero does not accept Pipeline's credentials",
        "Xero refused Pipeline's own application credentials. Nothing is wrong with your account.",
        "Our move: Pipeline's operators have to correct them. Please try again later.",
        Button.CARD,
        status=502,
    ),
    Failure.XERO_DOWN: Page(
        "Not connected: Xero did not answer",
        "Xero was not reachable or took too long. Nothing has changed.",
        "Xero's move: wait a few minutes, then try again.",
        status=502,
    ),
    Failure.XERO_REFUSED: Page(
        "Not connected: Xero refused the request",
        "Xero ended the attempt with an error of its own. Nothing has changed.",
        "Your move: try again; if it happens twice, tell Pipeline's support.",
        status=502,
    ),
    Failure.UNTRUSTED: Page(
        "Not connected: the answer could not be verified",
        "The answer did not prove that it came from Xero for this attempt, so it was not used.",
        "Your move: start again from here; if it happens twice, tell Pipeline's support.",
        status=502,
    ),
    Failure.SCOPES_MISSING: Page(
        "Not connected: not all permissions were granted",
        "Pipeline needs every permission on Xero's consent page, and some were left out. What was granted now is "
        "given back to Xero; a connection that worked before goes on working.",
        "Your move: start again and grant all of them.",
    ),
    Failure.NO_ORGANISATION: Page(
        "Not connected: no organisation was chosen",
        "Xero gave access, but to no organisation.",
        "Your move: start again and pick the organisation whose books Pipeline should use.",
    ),
    Failure.CHOICE_EXPIRED: Page(
        "Nothing was changed: this choice has ended",
        "An organisation can be chosen within 15 minutes, once, and from the list that was shown last.",
        "Your move: start again from here.",
        status=400,
    ),
    Failure.WRONG_ORGANISATION: Page(
        "Not connected: that is a different organisation",
        "This account's invoices and mappings belong to another Xero organisation than the one chosen now. "
        "Nothing was changed, and waiting invoices stay where they are.",
        "Your move: start again and pick the same organisation as before. If the account shall really move to another "
        "organisation, read first what switching does.",
        status=409,
    ),
    Failure.TAKEN: Page(
        "Not connected: the organisation is in use",
        "That Xero organisation is already connected to another Pipeline account, and one organisation can "
        "feed only one account.",
        "Your move: pick another organisation, or have it disconnected there first.",
        status=409,
    ),
    Failure.REFRESH_REJECTED: Page(
        "The refresh was refused",
        "Xero no longer accepts this authorisation, so renewing it cannot work.",
        "Your move: connect again; waiting invoices then continue by themselves.",
        status=409,
    ),
    Failure.REFRESH_UNAVAILABLE: Page(
        "The refresh did not get through",
        "Xero did not answer, or is being asked already. The connection itself is unchanged.",
        "Our move: the connector keeps trying by itself. You can try again in a minute.",
        Button.CARD,
        status=502,
    ),
    Failure.NOTHING_TO_REFRESH: Page(
        "There is nothing to refresh",
        "This account has no authorisation that could be renewed.",
        "Your move: connect to Xero.",
        status=409,
    ),
    Failure.CONNECTION_CAP: Page(
        "Not connected: Pipeline's places at Xero are taken",
        "Xero allows Pipeline a fixed number of connected organisations, and all of them are in use. Nothing has "
        "changed, and organisations that are connected go on working.",
        "Our move: Pipeline's operators have to take a larger plan at Xero, or disconnect accounts that are not used "
        "any more. Please tell Pipeline's support, and try again when they have answered.",
        Button.CARD,
        status=503,
    ),
    Failure.NOT_FOUND: Page(
        "There is nothing here",
        "The address belongs to no page of your account.",
        "Your move: go on to your own Xero card.",
        Button.CONTINUE,
        status=404,
    ),
    Failure.REQUEST_REFUSED: Page(
        "Nothing was done: the request was not readable",
        "What the browser sent is not what the page's form sends.",
        "Your move: go back to the Xero card and press the button there.",
        Button.CONTINUE,
        status=422,
    ),
    Failure.TOO_MANY_REQUESTS: Page(
        "Nothing was done: too many requests",
        "More requests came from your internet address within a minute than Pipeline answers. Others may share it.",
        "Your move: wait a minute, then press Continue.",
        Button.CONTINUE,
        status=429,
    ),
    Failure.UNEXPECTED: Page(
        "Something went wrong on our side",
        "Pipeline could not finish this. What was begun is finished or undone by itself; the Xero card shows how it "
        "stands.",
        "Our move: the fault is recorded. You can look at the Xero card and try again in a minute.",
        Button.CONTINUE,
        status=500,
    ),
}


def failure_of_error(error: str) -> Failure:
    """Which page explains the `error` that an authorization server sent people back with (RFC 6749 §4.1.2.1)."""
    match error:
        case "access_denied":
            return Failure.CANCELLED
        case "server_error" | "temporarily_unavailable":
            return Failure.XERO_DOWN
        case "unauthorized_client" | "invalid_client":
            return Failure.CLIENT_REJECTED
    # Xero shows the cap on a page of its own (authorize.xero.com/connectionLimit) and sends nobody back; its former
    # OAuth 1.0a said "connection limit exceeded" to the app. Should it ever do so again, it is understood.
    words = error.casefold()
    return (
        Failure.CONNECTION_CAP
        if "connection" in words and "limit" in words
        else Failure.XERO_REFUSED
    )


def failure_of_status(status: int) -> Failure:
    """Which page stands for a refusal with this HTTP status, when it is a person who is refused."""
    match status:
        case 401:
            return Failure.NOT_SIGNED_IN
        case 403:
            return Failure.NOT_ALLOWED
        case 404:
            return Failure.NOT_FOUND
        case 429:
            return Failure.TOO_MANY_REQUESTS
        case _ if status < 500:  # noqa: PLR2004 - HTTP's own line between their mistake and ours
            return Failure.REQUEST_REFUSED
        case _:
            return Failure.UNEXPECTED
