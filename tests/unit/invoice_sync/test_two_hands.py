"""Random edits of one invoice on both sides, through the real decisions and payloads: nobody's work is overwritten."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, event, example, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from invoice_sync.domain import confirm, update
from invoice_sync.domain.account_settings import AccountSettings, EditPolicy
from invoice_sync.domain.codes import Terms
from invoice_sync.domain.mapping import to_xero
from invoice_sync.domain.merging import merge
from invoice_sync.domain.state import Choice, IntentRef, Keep, State
from pipeline_contracts.sync import OutOfSync, SyncResumed
from pipeline_xero.documents import XeroInvoice
from pipeline_xero.wire import dumps, loads

CONTACT = "5f2b7c1a-1c8f-4c0e-9f57-0a4d7a0e6b11"
XERO_ID = "243216c5-369e-4056-ac67-05388f86dc81"
TERMS = Terms(AccountSettings(), "200")


class Xero:
    """One invoice as Xero keeps it: a change names fields, and lines it does not name are removed."""

    def __init__(self, element, first=0) -> None:
        self.next = first
        self.element = {"CurrencyRate": "0.5873"}
        self.change(element | {"InvoiceID": XERO_ID})

    def change(self, element) -> None:
        element = loads(dumps(element))
        known = {each["LineItemID"]: each for each in self.element.get("LineItems", ())}
        lines = [self._line(each, known) for each in element.get("LineItems", known.values())]
        self.element |= element | {"LineItems": lines}
        self.element["Total"] = sum(
            (Decimal(str(each["Quantity"])) * Decimal(str(each["UnitAmount"])) for each in lines), Decimal(0)
        )  # fmt: skip

    def _line(self, line, known):
        if line.get("LineItemID") in known:
            return known[line["LineItemID"]] | line
        self.next += 1
        return {"LineItemID": f"l-{self.next}"} | line

    def read(self) -> XeroInvoice:
        return XeroInvoice.from_json(loads(dumps(self.element)))


HEADS = {
    "reference": ("Reference", st.sampled_from(["one", "two", "three"])),
    "due_date": ("DueDate", st.sampled_from([date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 31)])),
    "currency_rate": ("CurrencyRate", st.sampled_from([Decimal("0.61"), Decimal("0.62"), Decimal("0.63")])),
    "invoice_number": ("InvoiceNumber", st.sampled_from(["INV-1", "INV-1a", "INV-1b"])),
}  # fmt: skip
OF_LINES = {
    "description": ("Description", st.sampled_from(["Work", "Play", "Rest"])),
    "quantity": ("Quantity", st.sampled_from([Decimal(1), Decimal(2), Decimal(3)])),
    "unit_amount": ("UnitAmount", st.sampled_from([Decimal(50), Decimal(60), Decimal(70)])),
    "account_code": ("AccountCode", st.sampled_from(["200", "260"])),
}


@st.composite
def edits(draw, new_lines):
    """Fields of the invoice, fields of lines by place, lines removed by place, and lines added."""
    head = {name: draw(HEADS[name][1]) for name in draw(st.sets(st.sampled_from(sorted(HEADS)), max_size=2))}  # fmt: skip
    lines = {
        place: {name: draw(OF_LINES[name][1]) for name in draw(st.sets(st.sampled_from(sorted(OF_LINES)), max_size=2))}
        for place in draw(st.sets(st.integers(0, 1), max_size=2))
    }  # fmt: skip
    removed = draw(st.sampled_from([set(), set(), set(), {0}, {1}]))
    return head, lines, removed, draw(st.sampled_from([(), (), new_lines]))


def pipelines(body, edit, line_of, version):
    head, lines, removed, added = edit
    kept = [
        each.model_copy(update=lines.get(place, {}))
        for place, each in enumerate(body.lines)
        if place not in removed
    ]
    kept += [line_of(each, description=f"New {each}", account_code="200") for each in added]
    total = sum((each.quantity * each.unit_amount for each in kept), Decimal(0))
    return body.model_copy(update=head | {"lines": tuple(kept), "total": total, "version": version})


def by_hand(xero, edit) -> None:
    head, lines, removed, added = edit
    changed = [
        each | {OF_LINES[name][0]: value for name, value in lines.get(place, {}).items()}
        for place, each in enumerate(xero.element["LineItems"])
        if place not in removed
    ]
    changed += [
        {"Description": f"Theirs {each}", "Quantity": 1, "UnitAmount": 7, "AccountCode": "200"}
        for each in added
    ]
    named = {HEADS[name][0]: value for name, value in head.items()}
    xero.change(named | {"LineItems": changed})


class World:
    def __init__(self, body_of, line_of, row_of, settings, account, now) -> None:
        self.account, self.now, self.settings = account, now, settings
        lines = [line_of("1", account_code="200"), line_of("2", description="Play", account_code="200")]  # fmt: skip
        self.body = body_of(reference="one", lines=lines)
        self.xero = Xero(to_xero(self.body, CONTACT, settings))
        sent = row_of(state=State.SYNCING, intent=IntentRef(1, 0, 1))
        step = confirm.created(sent, self.body, 1, self.seen(EditPolicy.BLOCK))
        self.row, self.link = step.row, step.link

    def seen(self, policy):
        web = "https://go.xero.com"
        return confirm.Seen(self.xero.read(), self.account, "t", web, self.now, None, policy)

    def want(self, body):
        text = body.model_dump_json()
        self.body = body
        state = self.row.state if self.row.state is State.OUT_OF_SYNC else State.PENDING
        self.row = replace(self.row, state=state, version=body.version, desired=text)

    def look(self, policy, choice=None):
        """One round of the worker; the events it told, and whether it wrote."""
        seen = self.seen(policy)
        found = update.resolve(self.row, self.link, CONTACT, seen, self.settings, TERMS, choice)
        if not isinstance(found, update.Change):
            self.row, self.link = found.row, found.link or self.link
            return found.events, None
        self.xero.change(found.element)
        body = update.read_body(found.sent or self.row.desired)
        step = confirm.updated(
            found.push.step.row, body, body.version, self.seen(policy), found.push.link, found.element
        )  # fmt: skip
        self.row, self.link = step.row, step.link
        return found.push.step.events + step.events, found

    def picture(self):
        seen = self.seen(EditPolicy.BLOCK)
        body = update.read_body(self.row.desired)
        return update.look(self.row, self.link, body, CONTACT, seen)


@pytest.fixture
def world(body_of, line_of, row_of, settings, account, now):
    def make():
        return World(body_of, line_of, row_of, settings, account, now)

    return make


FIXTURES = profile(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@FIXTURES
@given(ours=edits(("3",)), theirs=edits(("8",)), policy=st.sampled_from(EditPolicy))
def test_what_is_written_is_pipelines_change_and_nothing_besides(
    world, line_of, ours, theirs, policy
):
    made = world()
    by_hand(made.xero, theirs)
    made.want(pipelines(made.body, ours, line_of, 2))
    before = made.picture()
    merged = merge(before.link.base, before.ours, before.link.observed)
    events, written = made.look(policy)
    event(f"{policy}: {'written' if written else 'not written'}, {made.row.state}")
    after = made.picture().link.observed
    if written is None:
        assert after == before.link.observed
    elif policy is EditPolicy.BLOCK:
        assert before.link.observed == before.link.base
        assert made.picture().differences == ()
    else:
        shown = update.confirm.mapping.xero_snapshot(made.xero.read(), made.link.line_item_ids)
        assert {path: shown[path] for path in merged if merged[path] is not None} == {
            path: value for path, value in merged.items() if value is not None
        }
    told = [type(each) for each in events]
    assert (OutOfSync in told) == (made.row.state is State.OUT_OF_SYNC)
    # Looked at again, nothing is written and nothing is told.
    assert made.look(policy) == ((), None)


@FIXTURES
@given(ours=edits(("3",)), theirs=edits(("8",)), keep=st.sampled_from(Keep))
def test_a_conflict_ends_as_the_person_chose(world, line_of, ours, theirs, keep):
    made = world()
    by_hand(made.xero, theirs)
    made.want(pipelines(made.body, ours, line_of, 2))
    made.look(EditPolicy.BLOCK)
    if made.row.state is not State.OUT_OF_SYNC:
        return
    outdated = Choice(keep, "of another picture", "user:u")
    assert made.look(EditPolicy.BLOCK, outdated) == ((), None)
    before = made.picture()
    events, written = made.look(EditPolicy.BLOCK, Choice(keep, before.fingerprint, "user:u"))
    event(f"{keep}")
    assert made.row.state is State.SYNCED
    assert [each.resolved_by for each in events if isinstance(each, SyncResumed)] == ["person"]
    if keep is Keep.PIPELINE:
        assert written is not None
        wanted = {path: each for path, each in before.wanted.items() if each is not None}
        shown = made.picture().link.observed
        assert {path: shown.get(path) for path in wanted} == wanted
        assert len(made.xero.element["LineItems"]) == len(made.body.lines)
    else:
        assert written is None
        assert made.link.base == made.link.observed
    assert made.look(EditPolicy.BLOCK) == ((), None)


@FIXTURES
@given(ours=edits(("3",)), theirs=edits(("8",)), policy=st.sampled_from(EditPolicy))
def test_aligned_by_whoevers_hand_it_is_in_step(world, line_of, ours, theirs, policy):
    made = world()
    by_hand(made.xero, theirs)
    made.want(pipelines(made.body, ours, line_of, 2))
    made.look(policy)
    # Entered anew by hand: every line has another id.
    made.xero = Xero(to_xero(made.body, CONTACT, made.settings), first=100)
    made.look(policy)
    assert made.row.state is State.SYNCED


ROUNDS = st.lists(
    st.tuples(edits(("3",)), edits(("8",)), st.sampled_from([None, *Keep])), min_size=2, max_size=4
)


@FIXTURES
@given(rounds=ROUNDS, policy=st.sampled_from(EditPolicy))
# A price kept from Xero by choice, then a new quantity of the same line.
@example(
    rounds=[
        (({}, {1: {"unit_amount": Decimal(60)}}, set(), ()), ({}, {}, {0}, ()), Keep.XERO),
        (({}, {1: {"quantity": Decimal(1)}}, set(), ()), ({}, {}, set(), ()), None),
    ],
    policy=EditPolicy.BLOCK,
)
# A number kept from Xero by choice; then each side takes over the other's at the same time.
@example(
    rounds=[
        (
            ({"invoice_number": "INV-1b"}, {}, set(), ()),
            ({"invoice_number": "INV-1a"}, {}, set(), ()),
            Keep.XERO,
        ),
        (
            ({"invoice_number": "INV-1a"}, {}, set(), ()),
            ({"invoice_number": "INV-1b"}, {}, set(), ()),
            None,
        ),
    ],
    policy=EditPolicy.BLOCK,
)
def test_over_a_whole_life_nothing_is_written_over_but_by_choice(world, line_of, rounds, policy):
    made = world()
    for version, (ours, theirs, keep) in enumerate(rounds, 2):
        by_hand(made.xero, theirs)
        head, lines, removed, added = ours
        new = tuple(f"{version}-{each}" for each in added)
        made.want(pipelines(made.body, (head, lines, removed, new), line_of, version))
        before = made.picture()
        merged = merge(before.link.base, before.ours, before.link.observed)
        chosen = {
            path: before.link.observed.get(path) for path in made.link.kept if path != "total"
        }
        _, written = made.look(policy)
        if written is not None:
            # Nothing that was kept from Xero is written over, nor is it forgotten where it differs still.
            shown = made.picture().link.observed
            assert {path: shown.get(path) for path in chosen} == chosen
            untouched = before.link.observed == before.link.base
            assert untouched or (policy is EditPolicy.MERGE and merged is not None)
            shown = update.confirm.mapping.xero_snapshot(made.xero.read(), made.link.line_item_ids)
            target = before.ours if untouched else merged
            # The total follows: beside lines that only Xero has, it is another one than Pipeline's.
            said = {path for path, each in target.items() if each is not None and path != "total"}
            assert {path: shown.get(path, "gone") for path in said} == {path: target[path] for path in said}  # fmt: skip
        elif keep is not None and made.row.state is State.OUT_OF_SYNC:
            made.look(policy, Choice(keep, made.picture().fingerprint, "user:u"))
            assert made.row.state is State.SYNCED
        assert made.look(policy) == ((), None)
    made.xero = Xero(to_xero(made.body, CONTACT, made.settings), first=100)
    made.look(policy)
    assert made.row.state is State.SYNCED


@pytest.mark.parametrize("policy", EditPolicy)
def test_of_two_lines_each_side_may_take_out_another_and_leave_the_same(world, line_of, policy):
    made = world()
    by_hand(made.xero, ({}, {1: {"description": "Work"}}, {0}, ()))
    made.want(pipelines(made.body, ({}, {}, {1}, ()), line_of, 2))
    _, written = made.look(policy)
    assert (made.row.state, written) == (State.SYNCED, None)
    assert [*made.link.line_item_ids.items()] == [("1", "l-2")]
    change_a_line(made, 0, quantity=Decimal(3))
    made.look(policy)
    (line,) = made.xero.element["LineItems"]
    assert (line["LineItemID"], line["Description"], line["Quantity"]) == ("l-2", "Work", 3)
    assert made.look(policy) == ((), None)


def left_to_xero(made, line_of, edit):
    """Pipeline adds a line while somebody edits Xero's lines, and Xero's version is chosen."""
    by_hand(made.xero, edit)
    made.want(pipelines(made.body, ({}, {}, set(), ("3",)), line_of, 2))
    made.look(EditPolicy.BLOCK)
    made.look(EditPolicy.BLOCK, Choice(Keep.XERO, made.picture().fingerprint, "user:u"))
    assert made.row.state is State.SYNCED


def change_a_line(made, place, **fields):
    lines = list(made.body.lines)
    lines[place] = lines[place].model_copy(update=fields)
    total = sum((each.quantity * each.unit_amount for each in lines), Decimal(0))
    version = made.row.version + 1
    made.want(
        made.body.model_copy(update={"lines": tuple(lines), "total": total, "version": version})
    )


@pytest.mark.parametrize("policy", EditPolicy)
@pytest.mark.parametrize("place", [0, 2])
def test_a_line_left_out_of_xero_does_not_come_back_half(world, line_of, policy, place):
    made = world()
    left_to_xero(made, line_of, ({}, {}, {0}, ()))
    change_a_line(made, place, description="Said otherwise")
    events, written = made.look(policy)
    assert written is None
    assert [type(each) for each in events] == [OutOfSync]
    assert {each.field.rpartition(": ")[2] for each in events[0].differences} >= {"description", "quantity", "unit_amount"}  # fmt: skip
    made.look(policy, Choice(Keep.PIPELINE, made.picture().fingerprint, "user:u"))
    assert made.row.state is State.SYNCED
    assert "Said otherwise" in {each["Description"] for each in made.xero.element["LineItems"]}
    assert made.look(policy) == ((), None)


def test_a_price_left_as_in_xero_stays_where_a_quantity_is_put_right_by_choice(world, line_of):
    made = world()
    left_to_xero(made, line_of, ({}, {0: {"unit_amount": Decimal(70)}}, set(), ()))
    by_hand(made.xero, ({"reference": "two"}, {0: {"quantity": Decimal(3)}}, set(), ()))
    made.want(made.body.model_copy(update={"reference": "three", "version": 3}))
    made.look(EditPolicy.BLOCK)
    differences = {each.field for each in made.picture().differences}
    assert "line 1: unit_amount" not in differences
    made.look(EditPolicy.BLOCK, Choice(Keep.PIPELINE, made.picture().fingerprint, "user:u"))
    line = made.xero.element["LineItems"][0]
    assert (line["Quantity"], line["UnitAmount"]) == (2, 70)
    assert made.row.state is State.SYNCED


def with_rate(made, rate, **fields):
    version = made.row.version + 1
    made.want(made.body.model_copy(update={"currency_rate": rate, "version": version} | fields))


@pytest.mark.parametrize("policy", EditPolicy)
def test_a_rate_that_pipeline_names_is_pushed_alone(world, policy):
    made = world()
    with_rate(made, Decimal("0.612345"))
    _, written = made.look(policy)
    assert written.element == {"InvoiceID": XERO_ID, "CurrencyRate": Decimal("0.612345")}
    assert made.row.state is State.SYNCED
    assert made.look(policy) == ((), None)


@pytest.mark.parametrize("policy", EditPolicy)
def test_a_rate_changed_on_both_sides_is_for_a_person(world, policy):
    made = world()
    with_rate(made, Decimal("0.61"))
    made.look(policy)
    made.xero.change({"CurrencyRate": "0.62"})
    assert made.look(policy) == ((), None)
    with_rate(made, Decimal("0.63"))
    events, written = made.look(policy)
    assert written is None
    assert [each.field for each in events[0].differences] == ["currency_rate"]


@pytest.mark.parametrize("policy", EditPolicy)
def test_a_rate_left_to_xero_is_never_a_difference(world, policy):
    made = world()
    made.xero.change({"CurrencyRate": "0.62"})
    with_rate(made, None, reference="two")
    _, written = made.look(policy)
    assert written.element == {"InvoiceID": XERO_ID, "Reference": "two"}
    assert made.row.state is State.SYNCED


@pytest.mark.parametrize(("base_currency", "state"), [("NZD", State.SYNCED), (None, State.FAILED)])
def test_of_a_paid_invoice_the_rate_stays_and_the_organisations_own_has_none(
    world, base_currency, state
):
    made = world()
    made.xero.change({"AmountPaid": 10})
    with_rate(made, Decimal("0.61"))
    seen, terms = made.seen(EditPolicy.BLOCK), replace(TERMS, base_currency=base_currency)
    found = update.resolve(made.row, made.link, CONTACT, seen, made.settings, terms)
    assert found.row.state is state
    assert state is State.SYNCED or found.row.block.code == "INVOICE_HAS_PAYMENT"


@pytest.mark.parametrize("is_shown", [True, False])
def test_a_discounted_line_of_xeros_own_is_no_wrong_total_and_hides_none(world, is_shown):
    made = world()
    line = {"Description": "Theirs", "Quantity": 1, "UnitAmount": 40, "DiscountAmount": 15}
    made.xero.change({"LineItems": [*made.xero.element["LineItems"], line]})
    made.want(made.body)
    found, invoice = made.picture(), made.seen(EditPolicy.BLOCK).invoice
    *ours, theirs = invoice.lines
    theirs = replace(theirs, line_amount=Decimal(25) if is_shown else None)
    invoice = replace(invoice, lines=(*ours, theirs))
    whole = sum((each.quantity * each.unit_amount for each in (*ours, theirs)), Decimal(0))
    for total, is_wrong in (
        (whole - 15, False),
        # Somebody took 10 off one of our lines: only Xero's own figure for its line can show that.
        (whole - 25, is_shown),
        (whole, is_shown),
        (whole - 41, True),
        (whole + 1, True),
    ):
        observed = {**found.link.observed, "total": str(total)}
        wrong = confirm.wrong_total(found.link.observed, found.wanted, observed, invoice)
        assert bool(wrong) is is_wrong, total
