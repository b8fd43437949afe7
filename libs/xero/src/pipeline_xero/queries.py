"""Query parameters and links, written the way Xero reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

_GUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_FIELD = re.compile(r"^[A-Za-z]+(\.[A-Za-z]+)*$")
_LISTED_NUMBER = re.compile(r"^[^,]+$")


def ids(values: Sequence[str]) -> str:
    """The value of ``IDs`` (also ``ContactIDs``): GUIDs separated by commas.

    Raises:
        ValueError: A value is not a GUID.
    """
    return ",".join(_guid(value) for value in values)


def can_be_listed(invoice_number: str) -> bool:
    """Whether ``InvoiceNumbers`` can carry this number; one with a comma needs ``where`` instead."""
    return (
        bool(_LISTED_NUMBER.fullmatch(invoice_number)) and invoice_number == invoice_number.strip()
    )


def invoice_numbers(values: Sequence[str]) -> str:
    """The value of ``InvoiceNumbers``: numbers separated by commas.

    Raises:
        ValueError: A number cannot be listed (see ``can_be_listed``).
    """
    for value in values:
        if not can_be_listed(value):
            raise ValueError(f"invoice number {value!r} cannot be listed; use where_text")
    return ",".join(values)


def where_text(field: str, value: str) -> str:
    """A ``where`` condition on text; embedded double quotes are doubled (Xero's invoices page).

    Raises:
        ValueError: ``field`` is not a field name.
    """
    doubled = value.replace('"', '""')
    return f'{_field(field)}=="{doubled}"'


def invoice_link(web_url: str, short_code: str | None, invoice_id: str) -> str:
    """The address at which a person sees a sales invoice in Xero.

    With the organisation's short code this is the documented form that first switches to the right
    organisation; without it, a person in several organisations may land in another one.

    Raises:
        ValueError: ``invoice_id`` is not a GUID.
    """
    return _deep_link(
        web_url, short_code, f"/AccountsReceivable/View.aspx?InvoiceID={_guid(invoice_id)}"
    )


def contact_link(web_url: str, short_code: str | None, contact_id: str) -> str:
    """The address at which a person sees a contact in Xero.

    Raises:
        ValueError: ``contact_id`` is not a GUID.
    """
    return _deep_link(web_url, short_code, f"/Contacts/View/{_guid(contact_id)}")


def _deep_link(web_url: str, short_code: str | None, path: str) -> str:
    root = web_url.rstrip("/")
    if not short_code:
        return f"{root}{path}"
    code = quote(short_code, safe="!-")
    return f"{root}/organisationlogin/default.aspx?shortcode={code}&redirecturl={path}"


def _guid(value: str) -> str:
    if not _GUID.fullmatch(value):
        raise ValueError(f"{value!r} is not a Xero id")
    return value.lower()


def _field(name: str) -> str:
    if not _FIELD.fullmatch(name):
        raise ValueError(f"{name!r} is not a field of Xero")
    return name
