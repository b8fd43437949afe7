"""Connects the demo account to Xero as a person does: the card, Xero's consent page, and back."""

from pipeline_local_stack.browser import Browser
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.stack import ACCOUNT, Stack


def connect_to_xero(stack: Stack) -> str:
    """Press "Connect to Xero", allow it on Xero's page, and return the organisation's name.

    Raises:
        StackError: the card does not say CONNECTED at the end; with what the page says instead.
    """
    browser = Browser()
    try:
        browser.open(f"{stack.urls['portal']}/sign-in/admin")
        browser.press("Connect to Xero")
        page = browser.press("Allow access")
        if "CONNECTED" not in page.text:
            raise StackError(f"The card does not say CONNECTED but: {page.text[-1500:]}")
    finally:
        browser.close()
    return ACCOUNT
