"""The timeline of a broken promise: everything about what it names, in order, and nothing about anything else."""

from dataclasses import replace

from planted_ledgers import CONNECTED_AT, IN_ORDER, TENANT, booked, call, record, synced

from pipeline_local_stack.chaos.timeline import Happening, Subject, subject_of, timeline
from pipeline_local_stack.invariants import violations
from pipeline_local_stack.ledgers import InvoiceKey

KEY = InvoiceKey("demo", "inv-00001")


def test_the_timeline_of_a_doubled_invoice_tells_what_was_put_in_asked_and_announced():
    doubled = replace(
        IN_ORDER,
        documents=[*IN_ORDER.documents, booked(1, document_id="x-1b")],
        calls=[*IN_ORDER.calls, call(path="/Invoices/x-1b"), call(path="/Invoices/x-4")],
    )
    found = violations(doubled)[0]
    told = timeline(found.words, doubled, [Happening(CONNECTED_AT - 9, "invoice-sync noted x")])
    assert subject_of(found.words, doubled).key == KEY
    assert told[0].endswith("invoice-sync noted x")
    assert any("Pipeline published InvoiceCreated (version 1" in line for line in told)
    assert any("we announced InvoiceSynced (version 1, sequence 1" in line for line in told)
    assert any("PUT /api.xro/2.0/Invoices/x-1b? and said 200" in line for line in told)
    assert not any("x-4" in line for line in told)
    assert [line for line in told if line.startswith("In Xero it is x-1")][1].startswith(
        "In Xero it is x-1b"
    )
    assert told[-1] == "It is answered to be synced"


def test_one_that_nobody_announced_is_said_not_to_be_in_xero():
    lost = replace(IN_ORDER, announced=[], documents=[])
    words = next(each.words for each in violations(lost) if each.invariant == 1)
    assert "In Xero it is not" in timeline(words, lost)


def test_the_first_name_counts_and_of_two_that_begin_together_the_longer():
    more = replace(
        IN_ORDER, documents=[*IN_ORDER.documents, booked(2, document_id="x-1b")],
        announced=[*IN_ORDER.announced, record(synced(2, 2, xero_invoice_id="x-1b"))],
    )  # fmt: skip
    assert subject_of("x-1b is not x-1", more).key == InvoiceKey("demo", "inv-00002")
    assert subject_of("x-1 is not x-1b", more).key == KEY
    assert subject_of(f"{TENANT}: 6 calls at once", IN_ORDER).tenant_id == TENANT
    assert subject_of("webhook 1234 was answered 200", IN_ORDER) == Subject()


def test_a_long_timeline_keeps_its_ends():
    calls = [call(CONNECTED_AT + second) for second in range(200)]
    told = timeline(f"{TENANT}: 200 calls", replace(IN_ORDER, calls=calls))
    assert len(told) < 70
    assert any("more …" in line for line in told)
