"""Query parameters and links."""

import pytest

from pipeline_xero import queries

GUID = "A03FFCD2-5d91-4c7e-b483-318584e9e439"


def test_ids_are_listed_in_lower_case():
    assert queries.ids([GUID, GUID]) == f"{GUID.lower()},{GUID.lower()}"
    for odd in ("", "x", GUID + "\n", GUID + '" OR 1==1'):
        with pytest.raises(ValueError, match="not a Xero id"):
            queries.ids([odd])


def test_invoice_numbers_are_listed_unless_they_cannot_be():
    assert queries.invoice_numbers(["INV-1", "INV 2"]) == "INV-1,INV 2"
    assert not queries.can_be_listed("A,B")
    assert not queries.can_be_listed(" INV-1")
    assert not queries.can_be_listed("")
    with pytest.raises(ValueError, match="use where_text"):
        queries.invoice_numbers(["INV-1", "A,B"])


def test_embedded_quotes_are_doubled():
    assert queries.where_text("InvoiceNumber", 'a"b') == 'InvoiceNumber=="a""b"'
    assert queries.where_text("Contact.Name", '" OR true') == 'Contact.Name==""" OR true"'


def test_a_condition_is_on_a_field():
    with pytest.raises(ValueError, match=r"not a"):
        queries.where_text("Name==1 OR Name", "x")


def test_links_have_the_documented_form():
    assert queries.invoice_link("https://go.xero.com/", "!NLglS", GUID) == (
        "https://go.xero.com/organisationlogin/default.aspx?shortcode=!NLglS"
        f"&redirecturl=/AccountsReceivable/View.aspx?InvoiceID={GUID.lower()}"
    )
    assert queries.invoice_link("https://go.xero.com", None, GUID) == (
        f"https://go.xero.com/AccountsReceivable/View.aspx?InvoiceID={GUID.lower()}"
    )
    assert "shortcode=a%26b&redirecturl=/Contacts/View/" in queries.contact_link(
        "https://go.xero.com", "a&b", GUID
    )
    with pytest.raises(ValueError, match="not a Xero id"):
        queries.invoice_link("https://go.xero.com", "!x", "javascript:alert(1)")
