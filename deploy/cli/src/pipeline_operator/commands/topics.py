"""`topics`: what the system needs in Kafka, on a cluster where nothing else makes it."""

from dataclasses import asdict
from typing import Annotated

import typer

from pipeline_contracts.topics import ALL
from pipeline_messaging.broker import KafkaSettings
from pipeline_messaging.topics import KafkaNotEntered, Made, TopicTrouble, make_topics
from pipeline_operator.failure import Failure, Status
from pipeline_operator.session import Json, on_kafka, session_of

app = typer.Typer(no_args_is_help=True, help="The topics of the contracts.")


@app.command()
def create(
    context: typer.Context,
    replication_factor: Annotated[
        int, typer.Option(min=1, max=9, help="Replicas of each partition.")
    ] = 3,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing. What is there is compared, never changed: 1 if it differs."""
    session = session_of(context)
    screen = session.show(as_json=as_json)
    made = on_kafka(_made(session.kafka, replication_factor))
    if as_json:
        screen.document(
            {"created": made.created, "differences": [asdict(each) for each in made.differences]}
        )
    else:
        screen.say(f"{len(made.created)} created, {len(ALL) - len(made.created)} were there.")
        if made.differences:
            screen.table(
                ("topic", "setting", "declared", "found"),
                (
                    (each.topic, each.setting, each.declared, each.found)
                    for each in made.differences
                ),
            )
            screen.say(
                "Nothing of these was changed. Settings: kafka-configs.sh --alter. Partitions must stay as declared from"
                " the first record on, since keys would move: recreate the topic while it is empty."
            )
    if made.differences:
        raise typer.Exit(Status.FOUND)


async def _made(kafka: KafkaSettings, replication_factor: int) -> Made:
    try:
        return await make_topics(kafka, ALL, replication_factor)
    except KafkaNotEntered as trouble:
        raise Failure(
            Status.UNREACHABLE, f"{trouble}.", "Nothing was done; mend that and run the same again."
        ) from None
    except TopicTrouble as trouble:
        raise Failure(
            Status.REFUSED,
            f"{trouble}.",
            "Mend that and run the same again: what was made stays, and is not made twice.",
        ) from None
