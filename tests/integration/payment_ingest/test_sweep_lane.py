"""Sweeps have a lane of their own: when it is full or stopped, payments told of by doorbells go on."""

from datetime import UTC, datetime

import pytest


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"retry-after": "300", "x-rate-limit-problem": "day"}, 290, 301),
        ({"x-rate-limit-problem": "concurrent"}, 0, 3),
    ],
)
async def test_a_sweep_without_room_is_put_off_alone(service, headers, least, most):
    invoice = service.xero.add()
    await service.link(invoice, "inv-1")
    service.xero.pay(invoice, "10.00")
    await service.connect()
    service.xero.answers.append((429, headers, b""))
    back = await service.turn()
    assert least <= (back - datetime.now(UTC)).total_seconds() <= most
    assert await service.pool.fetchval("SELECT not_before FROM connections") is None
    await service.ring(invoice)
    await service.turn()
    assert len(await service.told()) == 1


async def test_only_the_sweeps_reads_are_in_the_sweeps_lane(service):
    lanes = []
    answer = service.xero._answer

    async def seen(scope):
        headers = dict(scope["headers"])
        lanes.append(headers.get(b"x-lane"))
        return await answer(scope)

    service.xero._answer = seen
    await service.connect()
    invoice = service.xero.add()
    await service.ring(invoice)
    await service.turn()
    assert lanes == [None, b"sweeps"]
