"""Who may see what.

A session of Pipeline is for one account, and its people see that account and nothing of any other: to them, another
account's address is one at which there is nothing. Somebody has to look after all of them, so people whose session is
for the account of Pipeline's own staff may look at every account. Looking is all that gives them: what they decide is
asked of invoice-sync with their own token, which knows no staff.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Path
from starlette.requests import Request

from ops_dashboard.deps import Deps
from pipeline_service_defaults.auth import SESSION_COOKIE, Person, authenticate
from pipeline_service_defaults.problems import Problem

AccountId = Annotated[str, Path(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""An account's id in an address: opaque, but text that a database can hold."""

_PURPOSE: Final = b"ops-dashboard form"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, and with which token."""

    person: Person
    is_staff: bool
    token: str

    def may_act_on(self, account_id: str) -> bool:
        """Whether buttons are shown; invoice-sync decides on its own, and by the same token."""
        return self.person.account_id == account_id and self.person.may("operator")

    @property
    def form_token(self) -> str:
        """What proves that a form came from our page: only who holds the session can reckon it, and scripts and
        other sites' pages never see the session.
        """
        return hmac.new(self.token.encode(), _PURPOSE, hashlib.sha256).hexdigest()

    def sent(self, given: str) -> bool:
        """Whether a form carries the proof."""
        return hmac.compare_digest(self.form_token.encode(), given.encode("utf-8", "replace"))


def deps_of(request: Request) -> Deps:
    """What the pages need, put there when the application started."""
    deps: Deps = request.app.state.deps
    return deps


def anybody(request: Request) -> Visitor:
    """The person who asks. Raises Problem 401 without a session, 403 for a program or another site's form."""
    principal = authenticate(request)
    if not isinstance(principal, Person):
        raise Problem(
            403, "NOT_ALLOWED", "Not allowed", "These pages are for people.", hint="Sign in to Pipeline."
        )  # fmt: skip
    _, _, bearer = request.headers.get("authorization", "").partition(" ")
    staff = deps_of(request).settings.staff_account_id
    is_staff = staff is not None and principal.account_id == staff
    return Visitor(principal, is_staff, bearer.strip() or request.cookies[SESSION_COOKIE])


def of_account(request: Request, account_id: AccountId) -> Visitor:
    """The person who asks about an account. Raises Problem as `anybody` does, and 404 for another's account."""
    visitor = anybody(request)
    if account_id != visitor.person.account_id and not visitor.is_staff:
        raise Problem(404, "NOT_FOUND", "Not found", "There is no such account.")
    return visitor


def staff(request: Request) -> Visitor:
    """The member of staff who asks. Raises Problem as `anybody` does, and 404 for everybody else."""
    visitor = anybody(request)
    if not visitor.is_staff:
        raise Problem(404, "NOT_FOUND", "Not found", "There is nothing at this address.")
    return visitor


AnyVisitor = Annotated[Visitor, Depends(anybody)]
AccountVisitor = Annotated[Visitor, Depends(of_account)]
StaffVisitor = Annotated[Visitor, Depends(staff)]
