"""Whole lives of invoices, drawn at random: both sides edited, paid, voided, cut off, killed; compared with a model.

Runs are the same every time. More of them, and others each time: `pytest --hypothesis-profile=deep` on this file.
"""

import asyncio
import uuid
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from life_cycle import CUSTOMERS, LifeCycle
from two_books import as_wanted, due_in, lines_of

from invoice_sync.domain import mapping, three_way
from invoice_sync.domain.account_settings import EditPolicy
from invoice_sync.domain.state import Keep
from invoice_sync.domain.three_way import Plan
from pipeline_xero.client import GatewayClient

FEBRUARY, JUNE = date(2026, 2, 28), date(2026, 6, 30)
IS_DEEP = settings.get_current_profile_name() == "deep"
INVOICES = ("inv-1", "inv-2")
FAULTS = (
    "reset_before",
    "commit_then_reset",
    "error_500_before",
    "error_500_after",
    "rate_limit_minute",
    "unavailable_503",
)
VERSIONS = ("reference", "due", "number", "add", "change", "remove", "reorder", "same", "void")
EDITS = ("Reference", "DueDate", "InvoiceNumber", "add", "change", "remove", "align", "void")
OPERATIONS = (
    "archive",
    "restore",
    "unlink",
    "link",
    "disconnect",
    "connect",
    "customer",
    "contact",
)
# Every invoice of a life is dated 1 March 2026: locked for all but advisers, for all, for nobody.
LOCKS = ((JUNE, None), (None, JUNE), (FEBRUARY, FEBRUARY), (None, None))
any_invoice = st.sampled_from(INVOICES)
any_customer = st.sampled_from(CUSTOMERS)
then_work = st.booleans()


class Lives(RuleBasedStateMachine):
    """Each rule is something somebody does; the checks are the model's."""

    def __init__(self, life, in_loop):
        super().__init__()
        self.life = life
        self.in_loop = in_loop
        self.in_xero_first = True
        self.has_failed = False

    @initialize(
        in_xero_first=st.booleans(),
        lines=st.integers(1, 3),
        is_taken=st.sampled_from([False, False, True]),
        work=then_work,
    )
    def begin(self, in_xero_first, lines, is_taken, work):
        self.in_xero_first = in_xero_first
        self.do(self.life.begin(f"acc-{uuid.uuid4().hex[:8]}"))
        for invoice_id, customer_id in zip(INVOICES, CUSTOMERS, strict=True):
            wanted = [self.life.line(str(number)) for number in range(lines)]
            self.life.publish(invoice_id, customer_id=customer_id, lines=wanted)
            self.do(self.life.deliver(invoice_id, 1))
        if is_taken:
            self.take_its_number(INVOICES[1])
        self.work_if(work)

    def teardown(self):
        if not self.has_failed:
            self.do(self.life.converge(in_xero_first=self.in_xero_first))

    def do(self, what):
        try:
            return self.in_loop(what)
        except BaseException:
            self.has_failed = True
            raise

    def work_if(self, is_wanted):
        if is_wanted:
            self.do(self.life.look_again())
            self.do(self.life.work())

    # Pipeline

    @rule(
        invoice_id=any_invoice, what=st.sampled_from(VERSIONS), soon=st.booleans(), work=then_work
    )
    def publish(self, invoice_id, what, soon, work):
        if self.life.published[invoice_id].is_void:
            return
        version = (
            self.life.withdraw(invoice_id)
            if what == "void"
            else self.life.publish(invoice_id, **self.changes(invoice_id, what))
        )
        if soon:
            self.do(self.life.deliver(invoice_id, version))
        self.work_if(work)

    def changes(self, invoice_id, what):
        known, new = self.life.published[invoice_id], self.life.unique("ours")
        first, *others = known.body(len(known.versions)).lines
        return {
            "reference": {"reference": new},
            "due": {"due_date": due_in(len(known.versions))},
            "number": {"invoice_number": new},
            "add": {"lines": [first, *others, self.life.line(new)]},
            "change": {"lines": [self.life.line(first.line_id, description=new), *others]},
            "remove": {"lines": others or [first]},
            "reorder": {"lines": [*others, first]},
            "same": {},
        }[what]

    @rule(invoice_id=any_invoice, picks=st.lists(st.integers(0, 9), min_size=1, max_size=3))
    def deliver_late_twice_or_in_another_order(self, invoice_id, picks):
        known = self.life.published[invoice_id]
        versions = [pick % len(known.versions) + 1 for pick in picks]
        self.do(self.life.deliver(invoice_id, *versions))

    # People in Xero

    @rule(invoice_id=any_invoice, what=st.sampled_from(EDITS), work=then_work)
    def edit_in_xero(self, invoice_id, what, work):
        self.edit(invoice_id, what)
        self.work_if(work)

    def edit(self, invoice_id, what):
        if document := self.life.document_of(invoice_id):
            body = self.edited(invoice_id, document, what)
            self.do(self.life.by_hand("POST", f"invoices/{document['document_id']}", body))
        else:
            self.take_its_number(invoice_id)

    def edited(self, invoice_id, document, what):
        new = self.life.unique("theirs")
        line = {"Description": new, "Quantity": 1, "UnitAmount": 7, "AccountCode": "200"}
        first, *others = lines_of(document)
        known = self.life.published[invoice_id]
        return {
            "Reference": {"Reference": new},
            "DueDate": {"DueDate": due_in(60).isoformat()},
            "InvoiceNumber": {"InvoiceNumber": new},
            "add": {"LineItems": [first, *others, line]},
            "change": {"LineItems": [first | line, *others]},
            "remove": {"LineItems": others or [first]},
            "align": as_wanted(known.body(known.arrived), document),
            "void": {"Status": "VOIDED"},
        }[what]

    @rule(invoice_id=any_invoice, is_paid=st.booleans(), work=then_work)
    def pay(self, invoice_id, is_paid, work):
        document = self.life.document_of(invoice_id)
        if document is None:
            return
        if is_paid:
            body = {"invoice": document["document_id"], "amount": "1"}
            self.do(self.life.by_hand("POST", "payments", body))
        for payment_id in () if is_paid else document["payments"]:
            self.do(self.life.by_hand("DELETE", f"payments/{payment_id}"))
        self.work_if(work)

    def take_its_number(self, invoice_id):
        """Somebody else's invoice has our number before we do."""
        line = {"Description": "x", "Quantity": 1, "UnitAmount": 5, "AccountCode": "200"}
        body = {"Contact": {"Name": "Somebody else"}, "LineItems": [line]}
        number = self.life.published[invoice_id].body(1).invoice_number
        self.do(self.life.by_hand("POST", "invoices", body | {"InvoiceNumber": number}))

    # Operators

    @rule(what=st.sampled_from(OPERATIONS), customer_id=any_customer, work=then_work)
    def operate(self, what, customer_id, work):
        people = self.life.operators
        self.do(
            {
                "archive": lambda: people.contact_is(customer_id, "ARCHIVED"),
                "restore": lambda: people.contact_is(customer_id, "ACTIVE"),
                "unlink": lambda: people.unmap(customer_id),
                "link": lambda: people.map(customer_id),
                "disconnect": lambda: self.life.service.connect("DISCONNECTED"),
                "connect": lambda: self.life.service.connect("CONNECTED"),
                "customer": lambda: people.customer_gets(customer_id, self.address("ours")),
                "contact": lambda: people.contact_gets(customer_id, self.address("theirs")),
            }[what]()
        )
        self.work_if(work)

    def address(self, whose):
        return f"{self.life.unique(whose)}@example.com"

    @rule(
        invoice_id=any_invoice,
        keep=st.sampled_from(Keep),
        looks=st.booleans(),
        edit=st.none() | st.sampled_from(["Reference", "change"]),
        work=then_work,
    )
    def choose_between_two_versions(self, invoice_id, keep, looks, edit, work):
        """On a page just opened, or on one that was left open; and before the worker comes, somebody may go on editing."""
        if looks:
            self.do(self.life.operators.look(invoice_id))
        self.do(self.life.operators.choose(invoice_id, keep))
        if edit:
            self.edit(invoice_id, edit)
        self.work_if(work)

    @rule(policy=st.sampled_from(EditPolicy))
    def have_disjoint_edits_merged_or_told(self, policy):
        self.do(self.life.operators.set_policy(policy))

    @rule(locks=st.sampled_from(LOCKS), is_known=st.booleans(), work=then_work)
    def close_the_books(self, locks, is_known, work):
        self.life.operators.lock_up_to(*locks)
        if is_known:
            self.do(self.life.operators.days_pass())
        self.work_if(work)

    # The worker, and what befalls it

    @rule(
        kind=st.sampled_from(FAULTS),
        method=st.sampled_from(["PUT", "POST", "POST", "GET"]),
        edit=st.none() | st.sampled_from(["Reference", "change"]),
        minutes=st.sampled_from([0, 1, 6]),
    )
    def work_with_a_fault(self, kind, method, edit, minutes):
        """And in the time until the next turn somebody may edit what the answer did not tell of."""
        self.life.service.books.fault(kind, method=method, path="/api.xro/2.0/*")
        self.do(self.life.work())
        self.meanwhile(edit, minutes)

    @rule(
        moment=st.sampled_from(["before", "after"]),
        at_call=st.integers(1, 3),
        edit=st.none() | st.sampled_from(["Reference", "change"]),
        minutes=st.sampled_from([0, 1, 6]),
    )
    def work_and_die(self, moment, at_call, edit, minutes):
        self.do(self.life.work(dies=moment, at_call=at_call))
        self.meanwhile(edit, minutes)

    def meanwhile(self, edit, minutes):
        for invoice_id in INVOICES if edit else ():
            self.edit(invoice_id, edit)
        self.do(self.life.time_passes(minutes))

    @rule(looks=st.booleans())
    def work(self, looks):
        if looks:
            self.do(self.life.look_again())
        self.do(self.life.work())


FEW = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    # Making a failing run small takes minutes; the deep runs do it.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
MANY = settings(
    FEW,
    max_examples=600,
    stateful_step_count=50,
    derandomize=False,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.fixture
def live(service, kinds_of_event, line_of, died):
    """Runs the machine in a thread of its own: rules are plain functions, what they do runs in the test's loop."""

    async def run(chosen):
        loop = asyncio.get_running_loop()

        def in_loop(what):
            return asyncio.run_coroutine_threadsafe(what, loop).result(60)

        def machine():
            return Lives(LifeCycle(service, kinds_of_event, line_of, died), in_loop)

        await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)

    return run


@pytest.mark.timeout(0 if IS_DEEP else 300)
async def test_no_life_overwrites_doubles_or_loses_anything_and_all_converge(live):
    await live(MANY if IS_DEEP else FEW)


# A test that cannot fail proves nothing: each of these defects is one somebody could make.


def pushes_over_conflicts(patch):
    compare = three_way.compare

    def careless(base, pipeline, xero):
        found = compare(base, pipeline, xero)
        plan = Plan.PUSH if found.plan is Plan.CONFLICT else found.plan
        return replace(found, plan=plan)

    patch.setattr(three_way, "compare", careless)


def pushes_where_only_xero_changed(patch):
    compare = three_way.compare

    def careless(base, pipeline, xero):
        found = compare(base, pipeline, xero)
        plan = Plan.PUSH if found.plan is Plan.KEEP_XERO else found.plan
        return replace(found, plan=plan)

    patch.setattr(three_way, "compare", careless)


def creates_by_post(patch):
    """As it is most easily written; Xero then takes the number for the name of what is to be overwritten."""
    put = GatewayClient.put

    async def post(self, account_id, path, **rest):
        write = GatewayClient.post if path == "Invoices" else put
        return await write(self, account_id, path, **rest)

    patch.setattr(GatewayClient, "put", post)


def adopts_by_number(patch):
    patch.setattr(mapping, "is_ours", lambda *_: True)


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        (pushes_over_conflicts, "overwritten"),
        (pushes_where_only_xero_changed, "overwritten"),
        (creates_by_post, "a stranger's was changed|overwritten"),
        (adopts_by_number, "a stranger's was changed|is said to be in Xero|is right"),
    ],
)
async def test_a_defect_is_found(live, monkeypatch, defect, found):
    defect(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        await live(settings(FEW, max_examples=150))
