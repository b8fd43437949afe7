"""The baselines send Xero the same invoices, and each account of the bench has invoices of its own."""

import json
from decimal import Decimal

from pipeline_local_stack.bench.accounts import BenchAccount
from pipeline_local_stack.bench.bare_sync import as_element
from pipeline_local_stack.bench.direct import as_xero, to_json
from pipeline_local_stack.bench.workload import make_workload


def test_the_bare_loop_sends_what_the_plain_design_sends():
    for invoice in make_workload().take(50):
        event = json.loads(invoice.model_dump_json(), parse_float=Decimal)
        assert as_element(event, "c") == json.loads(to_json(as_xero(invoice, "c")))


def test_an_accounts_invoices_are_its_own_and_go_to_its_customers_in_turn():
    account = BenchAccount("acc", "tenant", None, ("one", "two"))
    own = account.own(make_workload().take(4))
    assert {invoice.account_id for invoice in own} == {"acc"}
    assert [invoice.customer_id for invoice in own] == ["one", "two", "one", "two"]
    assert len({invoice.invoice_id for invoice in own}) == 4
