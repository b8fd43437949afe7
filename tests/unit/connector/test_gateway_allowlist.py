import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.allowlist import ALLOWED, Allowed, Refused, check

GUID = b"0f6b7d11-4f6f-4a0e-9a4b-6f3f0f6b7d11"


@pytest.mark.parametrize(
    ("caller", "method", "path"),
    [
        ("invoice-sync", "GET", b"Invoices"),
        ("invoice-sync", "PUT", b"Invoices"),
        ("invoice-sync", "POST", b"Invoices/" + GUID),
        ("invoice-sync", "PUT", b"Invoices/" + GUID + b"/History"),
        ("invoice-sync", "PUT", b"Contacts"),
        ("invoice-sync", "GET", b"Contacts/CUST%2D1%20a"),
        ("invoice-sync", "GET", b"Organisation"),
        ("invoice-sync", "GET", b"TaxRates"),
        ("payment-ingest", "GET", b"Payments"),
        ("payment-ingest", "GET", b"CreditNotes/" + GUID),
    ],
)
def test_what_each_caller_needs_is_open(caller, method, path):
    assert check(caller, method, path, b"page=1") == Allowed(path.decode())


@pytest.mark.parametrize(
    ("caller", "method", "path"),
    [
        ("invoice-sync", "DELETE", b"Invoices/" + GUID),
        ("invoice-sync", "PATCH", b"Invoices"),
        ("invoice-sync", "PUT", b"Payments"),
        ("invoice-sync", "POST", b"Organisation"),
        ("invoice-sync", "POST", b"Invoices/" + GUID + b"/Email"),
        ("invoice-sync", "PUT", b"Invoices/" + GUID + b"/Attachments/x.pdf"),
        # Spelt so that a lenient server might still read the closed part.
        ("invoice-sync", "POST", b"Invoices/" + GUID + b"/Email."),
        ("invoice-sync", "POST", b"Invoices/" + GUID + b"/Email%20"),
        ("invoice-sync", "POST", b"Invoices/" + GUID + b"/Email;x"),
        ("invoice-sync", "PUT", b"Contacts/" + GUID + b"/Attachments./x"),
        ("invoice-sync", "GET", b"Invoices/" + GUID + b"/OnlineInvoice"),
        ("invoice-sync", "PUT", b"Invoices/" + GUID + b"/History/x"),
        ("invoice-sync", "GET", b"Users"),
        ("invoice-sync", "GET", b"Invoicesx"),
        ("payment-ingest", "PUT", b"Invoices"),
        ("payment-ingest", "POST", b"Payments"),
        ("payment-ingest", "GET", b"Accounts"),
        ("pipeline-backend", "GET", b"Invoices"),
        ("", "GET", b"Invoices"),
    ],
)
def test_everything_else_is_refused(caller, method, path):
    assert isinstance(check(caller, method, path, b""), Refused)


@pytest.mark.parametrize(
    "query", [b"a b", b"a\r\nb", b"a#b", "ü".encode(), b"x" * 20_000, b"a\x00"]
)
def test_a_query_that_is_not_one_is_refused(query):
    assert isinstance(check("invoice-sync", "GET", b"Invoices", query), Refused)


@given(caller=st.sampled_from(sorted(ALLOWED)), path=st.binary(max_size=80))
def test_whatever_passes_stays_below_its_resource(caller, path):
    judged = check(caller, "GET", path, b"")
    if isinstance(judged, Allowed):
        segments = judged.path.split("/")
        assert segments[0] in ALLOWED[caller]
        assert all(segment.strip(".") for segment in segments)
        assert not {"\\", "?", "#", " ", "\r", "\n"} & set(judged.path)
