"""Carries out the steps of a schedule on a running stack, and takes them all back again."""

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from pipeline_local_stack.chaos.fault_proxy import Links, Trouble
from pipeline_local_stack.chaos.schedule import (
    CALL_FAULTS,
    LINKS,
    PROCESS_FAULTS,
    WEBHOOK_FAULTS,
    Fault,
    Step,
)
from pipeline_local_stack.processes import Child, wait_until_listening
from pipeline_local_stack.stack import Stack

STOP_SECONDS = 30
"""How long a service may take to stop when it is asked to: as long as Kubernetes waits by default."""
_WEBHOOKS_AS_THEY_WERE = {
    "drop_probability": 0.0, "double_probability": 0.0, "reorder_probability": 0.0, "delay_seconds": 0.0,
}  # fmt: skip
_SHARE_OF_CALLS = 0.5
_CALLS_TO_STRIKE = 3
_SHARE_OF_WEBHOOKS = 0.6
_PATIENCE_SECONDS, _LOOK_SECONDS = 60, 0.5
"""How long a fault that waits for something to meet is left in place at the most."""


@dataclass(frozen=True, slots=True)
class Person:
    """An account of the run and the Xero user who connected it."""

    account_id: str
    email: str
    tenant_id: str


@dataclass(slots=True)
class Injector:
    """Strikes a stack whose services reach each other, Kafka, Postgres and Xero through links."""

    stack: Stack
    links: Links
    people: Sequence[Person]
    """Those whose accounts and tokens may be struck."""
    started: float = field(default_factory=time.monotonic)
    struck: set[Fault] = field(default_factory=set)
    """The faults that really met something."""
    complaints: list[str] = field(default_factory=list)
    """What a service did that it must not, whatever became of the ledgers."""
    revoked: set[str] = field(default_factory=set)
    """The accounts whose consent was taken away in Xero: a person must connect them again."""
    _clock_moved: float = 0
    _frozen: list[Child] = field(default_factory=list)
    _xero: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        # Without the links: the hand that breaks things must not be hit by them.
        self._xero = httpx.AsyncClient(
            base_url=f"{self.stack.urls['simulator']}/admin", timeout=STOP_SECONDS
        )

    async def carry_out(self, steps: Sequence[Step]) -> None:
        """Every step at its time; returns when the last one is over and everything is healed."""
        try:
            async with asyncio.TaskGroup() as running:
                for step in steps:
                    running.create_task(self._at_its_time(step))
        finally:
            await self.heal()

    async def heal(self) -> None:
        """Take every fault back."""
        for link in LINKS:
            self.links.trouble(link, Trouble.NONE)
        for child in self._frozen:
            _send(child, signal.SIGCONT)
        await self._xero.delete("/faults")
        await self._xero.patch("/webhooks", json={**_WEBHOOKS_AS_THEY_WERE, "status": "enabled"})
        await self._move_clock(-self._clock_moved)

    async def close(self) -> None:
        """Close the connections to the simulator."""
        await self._xero.aclose()

    async def _at_its_time(self, step: Step) -> None:
        await asyncio.sleep(self.started + step.at - time.monotonic())
        fault = step.fault
        if fault.target in LINKS and fault.kind in set(Trouble):
            await self._trouble(step)
        elif fault.kind in PROCESS_FAULTS:
            await self._process(step)
        elif fault.kind == "restart":
            await self._restart(step)
        elif fault.kind in CALL_FAULTS:
            await self._calls(step)
        elif fault.kind in WEBHOOK_FAULTS:
            await self._webhooks(step)
        else:
            await self._consent(step)

    async def _trouble(self, step: Step) -> None:
        link, before = step.fault.target, self.links.struck(step.fault.target)
        self.links.trouble(link, Trouble(step.fault.kind), step.amount)
        await asyncio.sleep(step.lasts)
        # Where Kafka is away, nobody calls anybody: a link is troubled until something goes through it.
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.links.struck(link) == before and time.monotonic() < deadline:
            self.links.trouble(link, Trouble(step.fault.kind), step.amount)
            await asyncio.sleep(_LOOK_SECONDS)
        if self.links.struck(link) > before:
            self.struck.add(step.fault)
        self.links.trouble(link, Trouble.NONE)

    async def _process(self, step: Step) -> None:
        replicas = self.stack.replicas(step.fault.target)
        child = self.stack.children[replicas[int(step.chance * len(replicas))]]
        match step.fault.kind:
            case "kill":
                if _send(child, signal.SIGKILL):
                    self.struck.add(step.fault)
            case "freeze":
                if _send(child, signal.SIGSTOP):
                    self.struck.add(step.fault)
                self._frozen.append(child)
                await asyncio.sleep(step.lasts)
                self._frozen.remove(child)
                _send(child, signal.SIGCONT)
            case _:
                for name in replicas:
                    await self._roll(step.fault, self.stack.children[name])

    async def _roll(self, fault: Fault, child: Child) -> None:
        """Ask one replica to stop; whoever watches over the stack starts it again, as Kubernetes would."""
        stopping = child.process
        if not _send(child, signal.SIGTERM) or stopping is None:
            return
        self.struck.add(fault)
        for _ in range(STOP_SECONDS * 10):
            if stopping.poll() is not None:
                return
            if child in self._frozen:
                # A frozen process cannot stop; that it is asked to is no fault of its own.
                _send(child, signal.SIGKILL)
            await asyncio.sleep(0.1)
        self.complaints.append(f"{child.name} did not stop within {STOP_SECONDS} s of SIGTERM")
        _send(child, signal.SIGKILL)

    async def _restart(self, step: Step) -> None:
        """A server dies at once, leaving what it has not written, and comes back after a while."""
        if step.fault.target == "kafka":
            child, port = self.stack.broker.child, self.links.upstream("kafka")
            child.kill()
        else:
            child, port = self.stack.postgres.child, self.links.upstream("postgres")
            # What `pg_ctl stop -m immediate` sends: no clean-up, and recovery at the next start. SIGKILL of the
            # parent alone would leave children that hold the shared memory.
            _send(child, signal.SIGQUIT)
            await asyncio.to_thread(_wait, child)
        self.struck.add(step.fault)
        await asyncio.sleep(min(step.lasts, 2))
        child.start()
        await asyncio.to_thread(wait_until_listening, child, port)

    async def _calls(self, step: Step) -> None:
        kind = step.fault.kind
        fault: dict[str, Any] = {
            "kind": kind, "nth": 0, "probability": _SHARE_OF_CALLS,
            # A token runs out once in half an hour: no fresh one does, too.
            "times": 1 if kind == "token_expired" else _CALLS_TO_STRIKE,
            "seconds": step.amount, "path": "/api.xro/*",
        }  # fmt: skip
        made = (await self._xero.post("/faults", json=fault)).raise_for_status().json()
        await asyncio.sleep(step.lasts)
        await self._until_it_struck(step.fault, made["fault_id"])

    async def _until_it_struck(self, fault: Fault, fault_id: str) -> None:
        """A script strikes only when a call comes: wait for one, while other faults may be over already."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while fault not in self.struck and time.monotonic() < deadline:
            for row in (await self._xero.get("/faults")).raise_for_status().json()["faults"]:
                if row["fault_id"] == fault_id and row["struck"]:
                    self.struck.add(fault)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _webhooks(self, step: Step) -> None:
        change = {
            "lost": {"drop_probability": _SHARE_OF_WEBHOOKS},
            "doubled": {"double_probability": _SHARE_OF_WEBHOOKS},
            "reordered": {"reorder_probability": _SHARE_OF_WEBHOOKS},
            "late": {"delay_seconds": step.amount},
        }[step.fault.kind]
        before = await self._webhook_events()
        await self._xero.patch("/webhooks", json=change)
        await asyncio.sleep(step.lasts)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while step.fault not in self.struck and time.monotonic() < deadline:
            if await self._webhook_events() != before:
                self.struck.add(step.fault)
            await asyncio.sleep(_LOOK_SECONDS)
        await self._xero.patch("/webhooks", json=dict.fromkeys(change, 0.0))

    async def _webhook_events(self) -> tuple[int, int]:
        """How many events Xero has told of so far, and how many of them were lost."""
        told = (await self._xero.get("/webhooks")).raise_for_status().json()
        return told["last_sequence"], told["events_dropped"]

    async def _consent(self, step: Step) -> None:
        person = self.people[int(step.chance * len(self.people))]
        who = {"user": person.email}
        match step.fault.kind:
            case "refresh_reply_lost":
                fault = {"kind": "refresh_reply_lost", "path": "/connect/token"}
                made = (await self._xero.post("/faults", json=fault)).raise_for_status().json()
                # A token that has run out is refreshed at its next use.
                await self._xero.post("/tokens/expire", json={})
                await asyncio.sleep(step.lasts)
                await self._until_it_struck(step.fault, made["fault_id"])
            case "revoke_consent":
                self.revoked.add(person.account_id)
                await self._xero.post("/tokens/revoke", json=who)
                self.struck.add(step.fault)
            case "disconnect":
                self.revoked.add(person.account_id)
                await self._xero.delete(f"/connections/{person.tenant_id}")
                self.struck.add(step.fault)
            case _:
                await self._move_clock(step.amount)
                self.struck.add(step.fault)
                await asyncio.sleep(step.lasts)
                await self._move_clock(-step.amount)

    async def _move_clock(self, seconds: float) -> None:
        """Xero's clock and ours differ from now on by so much more.

        Xero's does not jump. The simulator's does, and its limits would count calls of a minute that never was; the
        judge counts by a clock that stays.
        """
        await self._xero.post("/clock", json={"advance": seconds})
        await self._xero.delete("/limits/usage")
        self._clock_moved += seconds


def _send(child: Child, number: signal.Signals) -> bool:
    """Whether there was a process to send the signal to."""
    if not child.is_running() or child.process is None:
        return False
    child.process.send_signal(number)
    return True


def _wait(child: Child) -> None:
    if child.process is not None:
        child.process.wait(STOP_SECONDS)
