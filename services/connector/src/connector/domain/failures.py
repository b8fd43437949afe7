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


class Button(StrEnum):
    """What the page's one button does."""

    CONNECT = "Connect to Xero"
    CARD = "Back to the Xero card"


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
        "Your move: sign in to Pipeline, open the Xero card and press Connect to Xero.",
        Button.CARD,
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
        "Pipeline needs every permission on Xero's consent page, and some were left out.",
        "Your move: start again and grant all of them.",
    ),
    Failure.NO_ORGANISATION: Page(
        "Not connected: no organisation was chosen",
        "Xero gave access, but to no organisation.",
        "Your move: start again and pick the organisation whose books Pipeline should use.",
    ),
    Failure.CHOICE_EXPIRED: Page(
        "Not connected: the choice came too late",
        "The organisation has to be chosen within 15 minutes, and from the list that was shown.",
        "Your move: start again from here.",
        status=400,
    ),
    Failure.WRONG_ORGANISATION: Page(
        "Not connected: that is a different organisation",
        "This account's invoices and mappings belong to another Xero organisation than the one chosen now. "
        "Nothing was changed, and waiting invoices stay where they are.",
        "Your move: start again and pick the same organisation as before.",
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
}
