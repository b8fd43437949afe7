"""Other callers of the gateway, who together ask more of one organisation than Xero allows."""

import asyncio
import contextlib

import httpx

from pipeline_local_stack.stack import Stack

_PAUSE_SECONDS = 0.05


async def read_much(stack: Stack, account_id: str, readers: int) -> None:
    """Read as many callers at once, as much as they are let, until cancelled."""
    address = f"{stack.urls['connector']}/v1/accounts/{account_id}/xero/Organisation"
    limits = httpx.Limits(max_connections=readers)
    async with httpx.AsyncClient(timeout=30, limits=limits) as http:

        async def read() -> None:
            while True:
                token = stack.identities.service_token("invoice-sync", "connector")
                with contextlib.suppress(httpx.TransportError):
                    await http.get(address, headers={"Authorization": f"Bearer {token}"})
                await asyncio.sleep(_PAUSE_SECONDS)

        await asyncio.gather(*(read() for _ in range(readers)))
