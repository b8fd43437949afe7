"""Take in what this service set aside, once somebody mended the cause and asks for it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from invoice_sync.accept_events import accept_customers, accept_invoices
from invoice_sync.deps import Deps
from invoice_sync.observe_invoices import observe_invoices
from pipeline_contracts import topics
from pipeline_contracts.topics import Topic
from pipeline_messaging import taking_up
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.stored_letters import Place
from pipeline_messaging.subscriber import Handle
from pipeline_messaging.taking_up import Judged

# Not the connections: payment-ingest reads them, too, and a letter does not say which of both could not use it.
_OWN: Final[Mapping[str, tuple[Topic, Handle]]] = {
    topic.dead_letters: (topic, handle)
    for topic, handle in (
        (topics.INVOICES, accept_invoices),
        (topics.CUSTOMERS, accept_customers),
        (topics.CHANGES, observe_invoices),
    )
}


async def find_dead_letter(
    kafka: KafkaSettings, account_id: str, place: Place, now: datetime
) -> Judged | None:
    """What would come of taking up a dead letter; None unless it is one of ours that names this account.

    Raises:
        KafkaError: Kafka does not answer.
    """
    if place.topic not in _OWN:
        return None
    origin, _ = _OWN[place.topic]
    letter = await taking_up.find(kafka, origin, place)
    if letter is None or letter.account_id != account_id:
        return None
    return await taking_up.judge(kafka, letter, origin, now)


async def take_up_dead_letter(deps: Deps, found: Judged, by: str, now: datetime) -> bool:
    """Take it in, noted under the name of who asked; False where its event was had already, and nothing changed.

    Raises:
        HandlerError: it failed again; nothing changed.
    """
    _, handle = _OWN[found.letter.place.topic]
    is_new = await taking_up.take_up(deps.pool, found.letter, handle, by=by, now=now)
    deps.on_recorded()
    return is_new
