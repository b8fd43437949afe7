"""Work that waits for a connection says why in the connection's own words, with the step that fits that reason."""

from invoice_sync.domain.plan import unconnected
from invoice_sync.domain.state import Account
from invoice_sync.domain.trouble import of
from pipeline_xero.errors import NotConnected, NotFound

NEVER = (
    "This account has not been connected to Xero yet.",
    "An administrator can press Connect to Xero.",
)
CREDENTIALS = (
    "Xero does not accept Pipeline's own credentials at the moment.",
    "Pipeline's operators have to correct them; after that, press Refresh Token.",
)


def test_an_account_nobody_ever_connected_is_to_be_connected():
    for why in (
        unconnected(Account("acc-1")),
        unconnected(Account("acc-1", "DISCONNECTED", "NEVER_CONNECTED", *NEVER)),
        of(NotConnected("DISCONNECTED", "NEVER_CONNECTED", *NEVER), count=1, chance=0.5).block,
        of(NotFound("x", by_gateway=True), count=1, chance=0.5).block,
    ):
        assert why is not None
        assert "connected to Xero" in why.message
        assert "Connect to Xero" in why.hint
        assert "Refresh Token" not in why.hint


def test_another_reason_brings_its_own_step():
    for why in (
        unconnected(Account("acc-1", "TOKEN_EXPIRED", "CLIENT_REJECTED", *CREDENTIALS)),
        of(
            NotConnected("TOKEN_EXPIRED", "CLIENT_REJECTED", *CREDENTIALS), count=1, chance=0.5
        ).block,
    ):
        assert why is not None
        assert why.message.endswith(CREDENTIALS[0])
        assert why.hint == CREDENTIALS[1]
