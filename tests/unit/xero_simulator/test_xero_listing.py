from datetime import timedelta

import pytest

from xero_simulator.where import QueryMalformed, parse_order, parse_where

FIELDS = {
    "name": lambda row: row.get("name"),
    "number": lambda row: row.get("number"),
    "contact.name": lambda row: row.get("name"),
}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('Name=="acme"', True),
        ('Name = "ACME"', True),
        ('Name!="Other"', True),
        ('Name<>"Acme"', False),
        ("Number>=5 AND Number<6", True),
        ("Number>5", False),
        ('Number>5 OR Name=="Acme"', True),
        ('(Number>5 OR Number<1) && Name=="Acme"', False),
        ('Name.Contains("CM")', True),
        ('Name.StartsWith("ac") and not', None),
        ('Contact.Name.EndsWith("x")', False),
        ("Missing==1", None),
        ("Name==", None),
        ('Name=="open', None),
        ("Number==5)", None),
        ("Name==null", False),
        ("Name!=null", True),
        ('Number=="5"', False),
        ("Name=~1", None),
        ("Number==DateTime(2026,13,1)", None),
    ],
)
def test_where(text, matches):
    row = {"name": "Acme", "number": 5}
    if matches is None:
        with pytest.raises(QueryMalformed):
            parse_where(text, FIELDS)
    else:
        assert parse_where(text, FIELDS).matches(row) is matches


def test_embedded_quotes_are_doubled():
    where = parse_where('Name=="the ""best"" one"', FIELDS)
    assert where.matches({"name": 'The "Best" One'})


def test_alternatives_are_not_used_for_index_lookups():
    assert parse_where('Name=="a" AND Number==1', FIELDS).equals == {"name": "a", "number": 1}
    assert parse_where('Name=="a" OR Number==1', FIELDS).equals == {}


@pytest.mark.parametrize("text", ["Name SIDEWAYS", "Missing", "Name ASC DESC", ""])
def test_malformed_order(text):
    with pytest.raises(QueryMalformed):
        parse_order(text, FIELDS)


async def test_malformed_where_is_a_query_parse_exception(sim):
    reply = await sim.call("GET", "Invoices", where="Status===")
    assert reply.status_code == 400
    assert reply.json()["Type"] == "QueryParseException"


async def three(sim):
    contact = await sim.contact("Acme")
    rows = [sim.invoice(contact, number, Reference=f"ref {number}") for number in ("A", "B", "C")]
    await sim.write("PUT", "Invoices", {"Invoices": rows})
    await sim.pay("B", "15")
    return contact


async def numbers(sim, **params):
    return [row["InvoiceNumber"] for row in (await sim.get("Invoices", **params))["Invoices"]]


async def test_filters(sim):
    contact = await three(sim)
    other = await sim.contact("Other")
    await sim.created("D", contact_id=other, Status="DRAFT")
    ids = {
        row["InvoiceNumber"]: row["InvoiceID"] for row in (await sim.get("Invoices"))["Invoices"]
    }
    assert await numbers(sim, InvoiceNumbers="a,C") == ["A", "C"]
    assert await numbers(sim, IDs=f"{ids['B']},{ids['D']}", order="InvoiceNumber DESC") == [
        "D",
        "B",
    ]
    assert await numbers(sim, ContactIDs=other) == ["D"]
    assert await numbers(sim, Statuses="DRAFT,PAID") == ["D"]
    assert await numbers(sim, searchTerm="ref c") == ["C"]
    assert await numbers(
        sim, where=f'Contact.ContactID==guid("{contact.upper()}") AND AmountPaid>0'
    ) == ["B"]
    assert await numbers(
        sim, where='Status=="AUTHORISED" AND AmountDue>=115', order="InvoiceNumber"
    ) == ["A", "C"]
    assert await numbers(
        sim,
        where="Date>=DateTime(2026,11,01) AND DueDate<DateTime(2026,12,02)",
        order="InvoiceNumber",
    ) == ["A", "B", "C", "D"]
    assert await numbers(sim, where="Date>DateTime(2026, 11, 1)") == []
    person = {
        "Contact": {"Name": "Acme"},
        "InvoiceNumber": "E",
        "LineItems": [{"Description": "x", "UnitAmount": 1, "AccountCode": "200"}],
    }
    await sim.admin("POST", f"/tenants/{sim.tenant}/invoices", person)
    assert "E" not in await numbers(sim, createdByMyApp="true")


async def test_paging(sim):
    await three(sim)
    first = await sim.get("Invoices", page="1", pageSize="2", order="InvoiceNumber")
    assert first["pagination"] == {"page": 1, "pageSize": 2, "pageCount": 2, "itemCount": 3}
    assert [row["InvoiceNumber"] for row in first["Invoices"]] == ["A", "B"]
    assert first["Invoices"][0]["LineItems"]
    beyond = await sim.get("Invoices", page="3", pageSize="2")
    assert beyond["Invoices"] == []
    clamped = await sim.get("Invoices", page="1", pageSize="5000")
    assert clamped["pagination"]["pageSize"] == 1000
    default = await sim.get("Invoices", page="1")
    assert default["pagination"]["pageSize"] == 100


async def test_unpaged_lists_lack_line_items_and_paging(sim):
    await three(sim)
    found = await sim.get("Invoices")
    assert "pagination" not in found
    assert all(row["LineItems"] == [] for row in found["Invoices"])


async def test_summary_only_drops_the_heavy_parts(sim):
    await three(sim)
    found = await sim.get("Invoices", page="1", summaryOnly="True")
    row = found["Invoices"][0]
    assert not {"Payments", "LineItems", "HasAttachments"} & set(row)
    assert row["AmountDue"] == 115


async def test_the_default_order_is_by_update(sim):
    await three(sim)
    sim.world.clock.advance(5)
    await sim.pay("A", "1")
    assert (await numbers(sim))[-1] == "A"


@pytest.mark.parametrize(("inclusive", "expected"), [(False, ["B"]), (True, ["A", "B"])])
async def test_if_modified_since(sim, inclusive, expected):
    await sim.admin("PATCH", "/switches", {"if_modified_since_inclusive": inclusive})
    contact = await sim.contact()
    clock = sim.world.clock
    clock.freeze()
    clock.advance(1 - clock.timestamp() % 1)
    await sim.created("A", contact_id=contact)
    second = clock.now()
    clock.advance(1)
    await sim.created("B", contact_id=contact)
    assert second.microsecond == 0
    for text in (
        second.strftime("%Y-%m-%dT%H:%M:%S"),
        second.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    ):
        sim.headers["If-Modified-Since"] = text
        assert await numbers(sim) == expected
    sim.headers["If-Modified-Since"] = (second + timedelta(hours=1)).isoformat()[:19]
    assert await numbers(sim) == []
    sim.headers["If-Modified-Since"] = "yesterday"
    assert (await sim.call("GET", "Invoices")).status_code == 412


async def test_changed_payments_are_found_by_time(sim):
    await three(sim)
    clock = sim.world.clock
    clock.advance(10)
    since = clock.now().strftime("%Y-%m-%dT%H:%M:%S")
    clock.advance(10)
    payment = await sim.pay("A", "5")
    sim.headers["If-Modified-Since"] = since
    rows = (await sim.get("Payments", page="1"))["Payments"]
    assert [row["PaymentID"] for row in rows] == [payment["payment_id"]]
    assert rows[0]["Invoice"]["InvoiceNumber"] == "A"


async def test_ids_must_be_ids(sim):
    assert (await sim.call("GET", "Invoices", IDs="nope")).status_code == 404
    assert (await sim.call("GET", "Invoices", page="first")).status_code == 400


async def test_ten_thousand_invoices_stay_quick_to_find(sim):
    contact = await sim.contact()
    line = {"Description": "x", "UnitAmount": 1, "AccountCode": "200"}
    row = {"Type": "ACCREC", "Contact": {"ContactID": contact}, "LineItems": [line]}
    scene = sim.world.scene(sim.world.books[sim.tenant])
    from xero_simulator.invoices import create_invoice

    for number in range(10_000):
        create_invoice(scene, row | {"InvoiceNumber": f"N-{number}"})
    sim.world.commit(scene.books)
    assert await numbers(sim, InvoiceNumbers="N-9999,N-1") == ["N-1", "N-9999"]
    assert await numbers(sim, where='InvoiceNumber=="N-5000"') == ["N-5000"]
    found = await sim.get("Invoices", page="100", pageSize="100")
    assert found["pagination"] == {
        "page": 100,
        "pageSize": 100,
        "pageCount": 100,
        "itemCount": 10_000,
    }
    assert (await sim.admin("GET", "/calls/summary"))["tenants"][sim.tenant]["by_status"][
        "200"
    ] == 4
