"""The chain of an account's changed settings, checked: no row altered or taken out, and what holds is its result."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from invoice_sync.domain.account_settings import AccountSettings, SettingChange, change_hash

SETTINGS = "settings"


def told(settings: AccountSettings) -> str:
    """Settings as a change tells them."""
    return json.dumps(asdict(settings), default=str, sort_keys=True)


def broken_chain(
    account_id: str,
    changes: Sequence[tuple[SettingChange, bytes]],
    settings: AccountSettings,
    mappings: Mapping[str, str],
) -> str | None:
    """What is wrong with one account's chain, naming the first broken row; None when it holds.

    The end of a chain is only as sure as what it led to: whoever deletes the last rows and sets the account's settings
    back as well is not found here.

    Args:
        account_id: The account.
        changes: All its changes with their recorded links, the oldest first.
        settings: Its settings as they are now; the defaults if there are none.
        mappings: Its code mappings as they are now: Xero's code by subject (``kind:code``).
    """
    previous: bytes | None = None
    holding: dict[str, str] = {}
    for expected, (change, recorded) in enumerate(changes, start=1):
        row = f"account {account_id!r}, change {change.sequence}"
        if change.sequence != expected:
            return f"{row}: change {expected} is missing before it"
        if change.previous_hash != previous or recorded != change_hash(change):
            return f"{row}: altered, or not the row that was written"
        previous = recorded
        if change.after is None:
            holding.pop(change.subject, None)
        else:
            holding[change.subject] = change.after
    return _broken_end(account_id, holding, settings, mappings)


def _broken_end(
    account_id: str,
    holding: Mapping[str, str],
    settings: AccountSettings,
    mappings: Mapping[str, str],
) -> str | None:
    # A setting that did not exist yet when the last change was made has its default.
    last = json.loads(holding.get(SETTINGS, "{}"))
    if {**json.loads(told(AccountSettings())), **last} != json.loads(told(settings)):
        return f"account {account_id!r}: the settings are not what the changes made them"
    for subject in sorted((holding.keys() - {SETTINGS}) | mappings.keys()):
        if holding.get(subject) != mappings.get(subject):
            return f"account {account_id!r}: the mapping {subject} is not what the changes made it"
    return None
