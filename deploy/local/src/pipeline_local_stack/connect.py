"""Connects accounts to Xero as a person does: the card, Xero's consent page, and back."""

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from pipeline_local_stack.browser import Browser
from pipeline_local_stack.paths import StackError
from pipeline_local_stack.plain_http import NOBODY
from pipeline_local_stack.stack import Stack

_CONNECTED = ">CONNECTED</"


def connect_to_xero(portal: str) -> None:
    """Press "Connect to Xero" on the card and allow the organisation that Xero's page offers first, unless it is connected already.

    Args:
        portal: The address of the page where people sign in.

    Raises:
        StackError: the card does not say CONNECTED at the end; with what the page says instead.
    """
    browser = Browser()
    try:
        page = browser.open(f"{portal}/sign-in/admin")
        if _CONNECTED in page.text:
            return
        browser.press("Connect to Xero")
        page = browser.press("Allow access")
        if _CONNECTED not in page.text:
            raise StackError(f"The card does not say CONNECTED but: {page.text[-1500:]}")
    finally:
        browser.close()


def connect_account(stack: Stack, account_id: str, email: str, organisation: str) -> str:
    """Connect an account to a new organisation of a new Xero user; the organisation's tenant id.

    Raises:
        StackError: the account is not connected at the end; with what the last page says.
    """
    with httpx.Client(base_url=f"{stack.urls['simulator']}/admin", timeout=30) as admin:
        made = admin.post("/organisations", json={"name": organisation}).raise_for_status().json()
        tenant_id = str(made["tenant_id"])
        admin.post("/users", json={"email": email, "tenants": [tenant_id]}).raise_for_status()
    connect_as(stack, account_id, email)
    return tenant_id


def connect_as(stack: Stack, account_id: str, email: str) -> None:
    """Press "Connect to Xero" on an account's card, and allow what Xero offers to this user.

    Raises:
        StackError: the account is not connected at the end; with what the last page says.
    """
    consent = {"user": email, "times": 1}
    httpx.put(f"{stack.urls['simulator']}/admin/consent", json=consent).raise_for_status()
    with _at_the_card(stack, account_id) as browser:
        page = browser.press("Connect to Xero")
    found = connection_of(stack, account_id)
    if found.get("status") != "CONNECTED":
        raise StackError(f"{account_id} is not connected: {found}; {page.text[-1500:]}")


def disconnect_account(stack: Stack, account_id: str) -> None:
    """Press "Disconnect", and again on the page that says what will stop."""
    with _at_the_card(stack, account_id, "/disconnect") as browser:
        browser.press("Disconnect")


def connection_of(stack: Stack, account_id: str) -> dict[str, Any]:
    """What the connector tells other services of an account's connection."""
    asking = stack.identities.service_token("pipeline-backend", "connector")
    found: dict[str, Any] = httpx.get(
        f"{stack.urls['connector']}/v1/accounts/{account_id}/connection",
        headers={"Authorization": f"Bearer {asking}"},
        timeout=30,
        verify=NOBODY,
    ).json()
    return found


@contextlib.contextmanager
def _at_the_card(stack: Stack, account_id: str, page: str = "") -> Iterator[Browser]:
    """An administrator of the account in front of a page of its card."""
    session = stack.identities.person_token(
        account_id, "admin", name="Ada Admin", user_id=f"user-{account_id}"
    )
    browser = Browser(cookies={"pipeline_session": session})
    try:
        browser.open(f"{stack.urls['connector']}/accounts/{account_id}/xero{page}")
        yield browser
    finally:
        browser.close()
