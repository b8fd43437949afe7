"""What happens by itself to a customer without a contact: nothing, a certain match, or a new contact."""

import asyncio

import httpx
import pytest

from invoice_sync import match_contacts
from invoice_sync.change_settings import change_settings
from invoice_sync.domain.account_settings import AccountSettings, MappingPolicy
from invoice_sync.map_contact import map_contact, unmap_contact
from invoice_sync.retry_sync import retry_invoice
from invoice_sync.store import account_settings, preview_allowances
from invoice_sync.suggest_contacts import suggest_for, suggest_waiting
from pipeline_contracts.sync import ContactMapped, InvoiceSynced
from pipeline_service_defaults.problems import Problem


async def choose(service, policy: MappingPolicy) -> None:
    async with service.pool.acquire() as conn:
        chosen = AccountSettings(mapping_policy=policy, version=1)
        await account_settings.save(conn, service.account_id, chosen)


@pytest.fixture
async def strict(service):
    await service.connect()
    await choose(service, MappingPolicy.STRICT)
    return service


@pytest.fixture
async def matching(service):
    await service.connect()
    await choose(service, MappingPolicy.MATCH)
    return service


async def new_contact(service, name="Ridgeway University", **fields) -> str:
    made = await service.books.act("POST", "contacts", {"Name": name} | fields)
    return made["contact_id"]


async def linked(service) -> dict[str, str]:
    rows = await service.pool.fetch("SELECT customer_id, contact_id FROM contact_mappings")
    return {row["customer_id"]: row["contact_id"] for row in rows}


def about_contacts(service) -> list[str]:
    return [method for method, path in service.gateway.calls if path.startswith("Contacts")]


async def codes(service, invoice_id="inv-1") -> list[str]:
    return [each.code for each in await service.told(invoice_id)]


async def test_strict_makes_and_links_nothing_until_a_person_does(strict):
    contact = await new_contact(strict, "Customer cust-1")
    await strict.know("cust-1")
    await strict.want(strict.invoice("inv-1"))
    await strict.settle()
    assert await codes(strict) == ["CUSTOMER_NOT_MAPPED"]
    assert about_contacts(strict) == []
    await map_contact(strict.deps, strict.account_id, "cust-1", contact, "user:1")
    await strict.settle()
    assert await strict.state("inv-1") == "synced"
    assert (await strict.books.invoices("INV-1"))[0]["contact_id"] == contact


async def test_another_policy_takes_up_what_strict_left(strict):
    await strict.know("cust-1")
    await strict.want(strict.invoice("inv-1"))
    await strict.settle()
    chosen = AccountSettings(mapping_policy=MappingPolicy.CREATE)
    await change_settings(strict.deps, strict.account_id, chosen, version=1, actor="user:1")
    await strict.settle()
    assert await strict.state("inv-1") == "synced"


@pytest.mark.parametrize(
    "fields",
    [
        {"Name": "ridgeway UNIVERSITY"},
        {"Name": "Uni", "EmailAddress": "AP@ridgeway.example"},
        {"Name": "Uni", "ContactNumber": "cust-1"},
    ],
    ids=["name", "email", "number"],
)
async def test_match_links_the_one_contact_that_is_meant(matching, fields):
    contact = await new_contact(matching, name=fields.pop("Name"), **fields)
    await new_contact(matching, "Somebody Else", EmailAddress="else@x.example")
    before = (await matching.books.ledger())["contacts"]
    await matching.know("cust-1", name="Ridgeway  University", email="ap@ridgeway.example")
    await matching.want(matching.invoice("inv-1"))
    await matching.settle()
    assert await linked(matching) == {"cust-1": contact}
    assert await matching.state("inv-1") == "synced"
    after = (await matching.books.ledger())["contacts"]
    assert [each["name"] for each in after] == [each["name"] for each in before]


async def test_match_never_guesses_and_creates_nothing(matching):
    for name in ("North", "South"):
        await new_contact(matching, name, EmailAddress="ap@ridgeway.example")
    await matching.know("cust-1", email="ap@ridgeway.example")
    await matching.know("cust-2")
    await matching.want(matching.invoice("inv-1"), matching.invoice("inv-2", customer_id="cust-2"))
    await matching.settle()
    assert await linked(matching) == {}
    assert await codes(matching) == ["CONTACT_AMBIGUOUS"]
    assert await codes(matching, "inv-2") == ["CUSTOMER_NOT_MAPPED"]
    assert {method for method, _ in matching.gateway.calls} == {"GET"}


async def test_a_doubt_that_was_removed_in_xero_is_over_with_the_next_retry(matching):
    one, other = [
        await new_contact(matching, name, EmailAddress="ap@ridgeway.example")
        for name in ("North", "South")
    ]
    await matching.know("cust-1", email="ap@ridgeway.example")
    await matching.want(matching.invoice("inv-1"))
    await matching.settle()
    assert await codes(matching) == ["CONTACT_AMBIGUOUS"]
    await matching.books.act("POST", f"contacts/{one}/merge-into/{other}")
    await retry_invoice(matching.deps, matching.account_id, "inv-1", "user:1")
    await matching.settle()
    assert await linked(matching) == {"cust-1": other}
    assert await matching.state("inv-1") == "synced"


async def test_match_asks_for_a_batch_of_customers_at_once(matching):
    ids = [f"cust-{n}" for n in range(20)]
    for each in ids:
        await new_contact(matching, f"Customer {each}")
    await matching.know(*ids)
    await matching.settle()
    assert len(await linked(matching)) == len(ids)
    assert len(about_contacts(matching)) <= 2


async def test_match_waits_while_xero_does_not_answer(matching):
    contact = await new_contact(matching)
    matching.books.fault("error_500_before", method="GET", path="*/Contacts*", times=1)
    await matching.know("cust-1", name="Ridgeway University")
    assert await matching.turn() is not None
    assert await linked(matching) == {}
    await matching.settle()
    assert await linked(matching) == {"cust-1": contact}


async def test_two_customers_of_one_name_are_linked_in_no_batch(matching):
    await new_contact(matching)
    await matching.know("a-first", name="Ridgeway University")
    await matching.know(*(f"between-{n}" for n in range(60)))
    # Their event is read only after the first batch has gone.
    await matching.know("z-last", name="RIDGEWAY  university")
    await matching.turn()
    assert await linked(matching) == {}
    blocked = await matching.pool.fetch(
        "SELECT customer_id FROM customers WHERE block_code = 'CONTACT_AMBIGUOUS' ORDER BY 1"
    )
    assert [row["customer_id"] for row in blocked] == ["a-first", "z-last"]


@pytest.mark.parametrize(
    ("of_pipeline", "of_xero"),
    [
        ({"email": "kim@one.example"}, {"EmailAddress": "kim@other.example"}),
        ({"tax_number": "NZ 123-456"}, {"TaxNumber": "999999"}),
    ],
    ids=["another email", "another tax number"],
)
async def test_a_namesake_is_not_taken_for_the_customer(matching, of_pipeline, of_xero):
    contact = await new_contact(matching, "Kim Li", **of_xero)
    await matching.know("cust-1", name="Kim Li", **of_pipeline)
    await matching.want(matching.invoice("inv-1"))
    await matching.settle()
    assert await linked(matching) == {}
    assert await codes(matching) == ["CONTACT_AMBIGUOUS"]
    (found,) = (await suggest_for(matching.deps, matching.account_id, "cust-1")).contacts
    assert (found.contact.contact_id, list(found.reasons)) == (contact, ["same_name"])


async def test_one_customer_that_xero_cannot_look_for_does_not_hold_up_the_others(matching):
    contact = await new_contact(matching)
    real = matching.gateway._pass_on

    async def choosy(request, path, tenant_id):
        if "odd" in request.url.params.get("where", ""):
            body = {"ErrorNumber": 16, "Type": "QueryParseException", "Message": "No"}
            return httpx.Response(400, json=body)
        return await real(request, path, tenant_id)

    matching.gateway._pass_on = choosy
    await matching.know("cust-1", name="Ridgeway University")
    await matching.know("cust-2", name="odd")
    await matching.want(matching.invoice("inv-1"), matching.invoice("inv-2", customer_id="cust-2"))
    await matching.settle()
    assert await linked(matching) == {"cust-1": contact}
    assert await matching.state("inv-1") == "synced"
    assert await codes(matching, "inv-2") == ["CUSTOMER_NOT_MAPPED"]
    assert await matching.turn() is None


async def test_no_address_of_a_look_up_is_too_long(matching):
    lengths = []
    matching.gateway.before = lambda request: lengths.append(len(request.url.raw_path))
    for n in range(20):
        await matching.know(f"cust-{n}", name="\N{SNOWMAN}" * 200, email="x" * 1_000)
    await matching.settle(10)
    # One name alone may take more than what several share.
    assert max(lengths) < 2_500


@pytest.mark.parametrize("step", ["match:after_read", "match:before_commit"])
async def test_dying_while_matching_means_looking_again(matching, died, monkeypatch, step):
    def die(name):
        if name == step:
            raise died

    contact = await new_contact(matching)
    await matching.know("cust-1", name="Ridgeway University")
    await matching.want(matching.invoice("inv-1"))
    with monkeypatch.context() as patched:
        patched.setattr(match_contacts, "failpoint", die)
        with pytest.raises(died):
            await matching.turn()
    await matching.settle()
    assert await linked(matching) == {"cust-1": contact}
    assert await matching.kinds("inv-1") == ["InvoiceSynced"]


async def test_a_person_who_links_while_xero_is_asked_is_not_overruled(matching):
    await new_contact(matching)
    chosen = await new_contact(matching, "The Right One")
    await matching.know("cust-1", name="Ridgeway University")
    asked = asyncio.Event()
    may_answer = asyncio.Event()
    real = matching.gateway._pass_on

    async def slowly(request, path, tenant_id):
        answer = await real(request, path, tenant_id)
        if request.url.params.get("where"):
            asked.set()
            await may_answer.wait()
        return answer

    matching.gateway._pass_on = slowly
    turn = asyncio.create_task(matching.turn())
    await asked.wait()
    await map_contact(matching.deps, matching.account_id, "cust-1", chosen, "user:1")
    may_answer.set()
    await turn
    await matching.settle()
    assert await linked(matching) == {"cust-1": chosen}


async def test_a_person_who_links_while_the_contact_is_made_is_not_overruled(service):
    await service.connect()
    chosen = await new_contact(service, "The Right One")
    service.books.fault("error_500_after", method="PUT", path="*/Contacts*", times=1)
    await service.know("cust-1")
    await service.turn()
    await map_contact(service.deps, service.account_id, "cust-1", chosen, "user:1")
    await service.settle()
    assert await linked(service) == {"cust-1": chosen}


async def test_two_releases_at_once_release_each_waiting_invoice_once(strict):
    contact = await new_contact(strict)
    waiting = [strict.invoice(f"inv-{n}") for n in range(5)]
    await strict.want(*waiting, strict.invoice("inv-9", customer_id="cust-2"))
    await strict.settle()
    generation = (await strict.row("inv-0"))["generation"]

    async def link():
        return await map_contact(strict.deps, strict.account_id, "cust-1", contact, "user:1")

    made = await asyncio.gather(*(link() for _ in range(4)))
    assert sorted(each.released for each in made) == [0, 0, 0, 5]
    assert (await strict.row("inv-0"))["generation"] == generation + 1
    assert sum(isinstance(each, ContactMapped) for each in await strict.told()) == 1
    await strict.settle()
    for each in waiting:
        told = await strict.told(each.invoice_id)
        assert sum(isinstance(event, InvoiceSynced) for event in told) == 1
    assert len(await strict.books.invoices()) == 5
    assert await strict.state("inv-9") == "waiting_for_contact"


async def test_an_unlinked_customer_waits_for_a_person_whatever_pipeline_changes(ready):
    (contact,) = (await linked(ready)).values()
    assert await unmap_contact(ready.deps, ready.account_id, "cust-1", "user:1")
    await ready.know("cust-1", version=2, name="Changed")
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    await retry_invoice(ready.deps, ready.account_id, "inv-1", "user:1")
    await ready.settle()
    assert set(await codes(ready)) == {"CUSTOMER_NOT_MAPPED"}
    assert await linked(ready) == {}
    assert len((await ready.books.ledger())["contacts"]) == 1
    await map_contact(ready.deps, ready.account_id, "cust-1", contact, "user:1")
    await ready.settle()
    assert await ready.state("inv-1") == "synced"


async def test_a_customer_linked_anew_moves_with_the_next_version_of_an_invoice(
    ready, kinds_of_event
):
    (old,) = (await linked(ready)).values()
    await ready.want(ready.invoice("inv-1"))
    await ready.settle()
    other = await new_contact(ready)
    await map_contact(ready.deps, ready.account_id, "cust-1", other, "user:1")
    await ready.settle()
    assert (await ready.books.invoices("INV-1"))[0]["contact_id"] == old
    updated = kinds_of_event["updated"]
    await ready.want(ready.invoice("inv-1", kind=updated, version=2, reference="Moved"))
    await ready.settle()
    assert (await ready.books.invoices("INV-1"))[0]["contact_id"] == other


async def test_suggestions_name_their_reasons_in_few_calls_that_people_wait_for(strict):
    mailed = await new_contact(strict, "Uni", EmailAddress="ap@ridgeway.example")
    similar = await new_contact(strict, "Ridgeway University of Otago")
    await new_contact(strict, "Unlike")
    await map_contact(strict.deps, strict.account_id, "cust-2", mailed, "user:1")
    await strict.know("cust-1", name="Ridgeway University", email="ap@ridgeway.example")
    await strict.want(strict.invoice("inv-1"))
    await strict.settle()
    strict.gateway.calls.clear()
    lanes = []
    strict.gateway.before = lambda request: lanes.append(request.headers.get("x-lane"))
    found = await suggest_for(strict.deps, strict.account_id, "cust-1")
    assert [(each.contact.contact_id, list(each.reasons)) for each in found.contacts] == [
        (mailed, ["same_email"]),
        (similar, ["similar_name"]),
    ]
    assert found.linked == {mailed: ["cust-2"]}
    assert lanes == ["people", "people"]
    (waiting,) = await suggest_waiting(strict.deps, strict.account_id, limit=10)
    assert waiting.customer.customer_id == "cust-1"
    assert lanes == ["people"] * 3
    assert await linked(strict) == {"cust-2": mailed}


async def test_suggestions_spend_what_they_ask(strict):
    """Long names do not fit into one question; each question is one of the account's calls of the day."""
    for number in range(12):
        await strict.know(f"cust-{number}", name=f"{number} {'Ünï & Söhne ' * 20}")
        invoice = strict.invoice(f"inv-{number}").model_copy(
            update={"customer_id": f"cust-{number}"}
        )
        await strict.want(invoice)
    await strict.settle()
    strict.gateway.calls.clear()
    assert len(await suggest_waiting(strict.deps, strict.account_id, limit=20)) == 12
    asked = len(strict.gateway.calls)
    assert asked > 1
    spent = await strict.pool.fetchval("SELECT spent_until - now() FROM preview_allowances")
    assert (asked - 1) * preview_allowances.A_CALL < spent <= asked * preview_allowances.A_CALL


async def test_no_suggestions_for_a_customer_nobody_told_of(strict):
    with pytest.raises(Problem) as refused:
        await suggest_for(strict.deps, strict.account_id, "cust-1")
    assert refused.value.status == 404
    assert await suggest_waiting(strict.deps, strict.account_id, limit=10) == []
