"""Connects the demo account to Xero as a person does: the card, Xero's consent page, and back."""

from pipeline_local_stack.browser import Browser
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.stack import Stack


def connect_to_xero(stack: Stack) -> None:
    """Press "Connect to Xero" on the card and allow the organisation that Xero's page offers first.

    Raises:
        StackError: the card does not say CONNECTED at the end; with what the page says instead.
    """
    browser = Browser()
    try:
        browser.open(f"{stack.urls['portal']}/sign-in/admin")
        browser.press("Connect to Xero")
        page = browser.press("Allow access")
        if "<strong>CONNECTED</strong>" not in page.text:
            raise StackError(f"The card does not say CONNECTED but: {page.text[-1500:]}")
    finally:
        browser.close()
