"""One running stack for all acceptance tests: real processes, real Kafka, real Postgres, Xero simulated."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from pipeline_contracts import topics
from pipeline_local_stack.connect import connect_to_xero
from pipeline_local_stack.stack import Stack, running_stack
from pipeline_local_stack.watcher import Watcher, watching
from pipeline_local_stack.xero_admin import XeroAdmin


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole system, empty, with the demo account connected to Xero."""
    with running_stack() as running:
        connect_to_xero(running)
        yield running


@pytest.fixture(scope="session")
def xero(stack: Stack) -> XeroAdmin:
    """Somebody at work inside Xero."""
    return XeroAdmin(stack.urls["simulator"])


@pytest.fixture(scope="session")
async def seen(stack: Stack) -> AsyncIterator[Watcher]:
    """Everything that comes out on the topics."""
    async with watching(stack.broker.bootstrap_servers, topics.ALL) as watcher:
        yield watcher


@pytest.fixture
def as_admin(stack: Stack) -> Iterator[httpx.Client]:
    """A client with an administrator's session of the demo account."""
    token = stack.identities.person_token("demo", "admin", name="Ada Admin", user_id="user-ada")
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        yield client


async def until(watcher: Watcher, condition, what: str, seconds: float = 60):
    """Wait until the condition gives something; fail saying what never came."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (found := condition()):
        assert asyncio.get_running_loop().time() < deadline, (
            f"never came: {what}; dead letters: {watcher.dead_letters[-3:]}"
        )
        await watcher.changed(0.5)
    return found
