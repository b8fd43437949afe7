"""What a link to a contact starts from: nothing is changed in Xero by linking."""

from dataclasses import replace
from datetime import datetime

from invoice_sync.domain.contact_fields import held, wanted
from invoice_sync.domain.state import ContactMapping, Customer
from pipeline_contracts.problems import ProblemCode
from pipeline_xero.documents import XeroContact

_REFUSED = frozenset({ProblemCode.CONTACT_NAME_TAKEN, ProblemCode.CONTACT_INVALID})


def by_hand(
    link: ContactMapping,
    customer: Customer | None,
    contact: XeroContact,
    former: ContactMapping | None,
    now: datetime,
) -> ContactMapping:
    """The link as a person, or a program, has just chosen it.

    What the contact holds stays, until Pipeline changes the customer. Linked to the contact it has already, a change
    of Pipeline's that is on its way goes on; what Xero's edit or refusal has stopped is settled as Xero has it.

    Args:
        link: Who is linked to what, and by whom.
        customer: The customer; None if Pipeline never told of it.
        contact: The contact, as just read.
        former: The link it replaces.
        now: The database's time.
    """
    observed = held(contact)
    made = replace(link, contact_name=contact.name, base=observed)
    if customer is None:
        return made
    desired = wanted(customer)
    is_refused = customer.block is not None and customer.block.code in _REFUSED
    is_other = former is None or former.contact_id != link.contact_id
    if former is None or former.agreed is None or is_other or is_refused:
        return replace(made, agreed=desired)
    disputed = {each.field for each in former.differences}
    agreed = {**former.agreed, **{name: desired[name] for name in disputed}}
    base = {**(former.base or former.agreed), **{name: observed[name] for name in disputed}}
    return replace(made, agreed=agreed, base=base, check_at=None if agreed == desired else now)
