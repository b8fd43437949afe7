import json
from decimal import Decimal

from pipeline_local_stack.bench.direct import as_xero, to_json
from pipeline_local_stack.bench.workload import CUSTOMERS, make_workload


def test_no_invoice_is_handed_out_twice_even_when_the_record_begins_again():
    workload = make_workload()
    taken = workload.take(5_000) + workload.take(5_000)
    assert len({invoice.invoice_id for invoice in taken}) == 10_000
    assert len({invoice.invoice_number for invoice in taken}) == 10_000


def test_invoices_are_spread_over_the_announced_customers_and_can_be_paid():
    workload = make_workload()
    announced = {customer.customer_id for customer in workload.customers}
    taken = workload.take(500)
    assert len(announced) == CUSTOMERS
    assert {invoice.customer_id for invoice in taken} == announced
    assert min(invoice.total for invoice in taken) >= 1


def test_the_baselines_send_the_same_invoice_with_exact_amounts():
    (invoice,) = make_workload().take(1)
    element = json.loads(to_json(as_xero(invoice, "contact-1")), parse_float=Decimal)
    (line,) = element["LineItems"]
    assert element["InvoiceNumber"] == invoice.invoice_number
    assert element["Contact"] == {"ContactID": "contact-1"}
    assert Decimal(line["UnitAmount"]) * Decimal(line["Quantity"]) - invoice.total < Decimal(
        "0.005"
    )
