from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from pipeline_contracts import (
    EVENT_TYPES,
    AccountReconciled,
    ConnectionStatusChanged,
    ContactMapped,
    Event,
    Invoice,
    InvoiceCreated,
    InvoiceLine,
    InvoiceUpdated,
    InvoiceVoided,
    NotEncodable,
    PaymentRecorded,
    stable_id,
)

OTHER_KEYS = {ContactMapped: "customer_id", AccountReconciled: "account_id"}
EVERY = pytest.mark.parametrize("model", EVENT_TYPES.values(), ids=lambda model: model.__name__)


def example(model, **changes):
    return model.model_config["json_schema_extra"]["examples"][0] | changes


def nested(model):
    return model.model_json_schema().get("$defs", {})


def test_the_events_of_the_design_are_all_there():
    assert {model.__name__ for model in EVENT_TYPES.values()} == {
        "InvoiceCreated", "InvoiceUpdated", "InvoiceVoided", "CustomerCreated", "CustomerUpdated",
        "InvoiceSynced", "SyncFailed", "OutOfSync", "SyncResumed", "ContactMapped", "PaymentRecorded",
        "PaymentReversed", "ConnectionStatusChanged", "XeroInvoiceObserved", "AccountReconciled",
    }  # fmt: skip


@EVERY
def test_type_topic_and_subject_follow_the_design(model):
    event = model(**example(model))
    noun_verb = model.TYPE.removeprefix("pipeline.").removesuffix(".v1")
    assert f"pipeline.{noun_verb}.v1" == model.TYPE
    assert noun_verb.count(".") == 1
    keys = {
        "pipeline.invoices.v1": "invoice_id",
        "pipeline.customers.v1": "customer_id",
        "pipeline.xero.sync.v1": OTHER_KEYS.get(model, "invoice_id"),
        "pipeline.payments.v1": "invoice_id",
        "pipeline.xero.connections.v1": "account_id",
        "pipeline.xero.changes.v1": "xero_invoice_id",
    }
    assert event.subject == getattr(event, keys[model.TOPIC])
    assert event.account_id == "acc-7"


@EVERY
def test_everything_is_described_and_exemplified(model):
    schema = model.model_json_schema()
    assert model.__doc__
    assert len(schema["examples"]) == 1
    for part in (schema, *nested(model).values()):
        assert part["description"].endswith((".", "there.")), part
        for name, field in part["properties"].items():
            assert field.get("description", "").endswith("."), name


@EVERY
def test_the_example_is_valid_and_is_written_as_it_stands(model):
    event = model(**example(model))
    assert event == model.model_validate_json(event.model_dump_json())
    assert event.model_dump(mode="json", exclude_none=True) == example(model)


@EVERY
def test_events_are_frozen_and_hashable(model):
    event = model(**example(model))
    with pytest.raises(ValidationError):
        event.account_id = "other"
    assert hash(event) == hash(model(**example(model)))


@EVERY
def test_a_writer_s_typing_mistake_is_refused_and_a_reader_ignores_what_is_new(model):
    with pytest.raises(ValidationError, match="accuont_id"):
        model(**example(model), accuont_id="acc-7")
    assert model.model_validate(example(model, novelty=1)) == model(**example(model))


def test_strict_writing_reaches_into_plain_values_inside():
    line = {"line_id": "1", "description": "", "quantity": 1, "unit_amount": 1}
    with pytest.raises(ValidationError, match="colour"):
        InvoiceCreated(**example(InvoiceCreated, lines=[line | {"colour": "red"}]))
    with pytest.raises(ValidationError, match="colour"):
        InvoiceLine(**line, colour="red")
    read = InvoiceCreated.model_validate(example(InvoiceCreated, lines=[line | {"colour": "red"}]))
    assert read.lines == (InvoiceLine(**line),)


@pytest.mark.parametrize(
    ("model", "field", "word"),
    [
        (InvoiceCreated, "amounts_are", "by_moonlight"),
        (ConnectionStatusChanged, "status", "PAUSED"),
        (PaymentRecorded, "kind", "barter"),
        (PaymentRecorded, "found_by", "chance"),
    ],
)
def test_unknown_words_are_read_but_not_written(model, field, word):
    assert getattr(model.model_validate(example(model, **{field: word})), field) == word
    with pytest.raises(ValidationError, match="not one of"):
        model(**example(model, **{field: word}))


STRUCTURAL_NONSENSE = [
    ("invoice_id", ""),
    ("invoice_id", " "),
    ("invoice_id", "a\n"),
    ("invoice_id", " a"),
    ("invoice_id", "a\x00b"),
    ("invoice_id", "x" * 256),
    ("invoice_id", 5),
    ("invoice_id", None),
    ("account_id", ""),
    ("version", 0),
    ("version", -1),
    ("version", True),
    ("version", "1"),
    ("version", 1.5),
    ("version", 2**31),
    ("invoice_number", "x" * 1_001),
    ("reference", "a\x00"),
    ("currency", 5),
    ("total", "NaN"),
    ("total", "1e30"),
    ("issue_date", 0),
    ("issue_date", "2026-02-30"),
    ("issue_date", "2026-02-03T00:00:00"),
    ("issue_date", "03.02.2026"),
    ("issue_date", datetime(2026, 2, 3, tzinfo=UTC)),
    ("lines", None),
    ("lines", {}),
    ("lines", [1]),
    ("lines", [{"line_id": "1", "description": "", "quantity": 1, "unit_amount": 1}] * 5_001),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), STRUCTURAL_NONSENSE)
def test_structural_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValidationError) as caught:
        InvoiceCreated.model_validate(example(InvoiceCreated, **{field: value}))
    assert caught.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("currency", "XXQ"),
        ("currency", ""),
        ("total", "-5"),
        ("total", "1.005"),
        ("reference", "x" * 300),
        ("invoice_number", ""),
        ("due_date", date(1, 1, 1)),
        ("lines", []),
        ("lines", [{"line_id": "1", "description": "", "quantity": "-1", "unit_amount": "0"}]),
    ],
)
def test_business_nonsense_is_read_so_that_it_can_be_explained(field, value):
    assert InvoiceCreated(**example(InvoiceCreated, **{field: value}))


def test_created_and_updated_share_their_body_and_updates_begin_where_creation_ended():
    assert issubclass(InvoiceCreated, Invoice)
    assert issubclass(InvoiceUpdated, Invoice)
    assert set(InvoiceCreated.model_fields) == set(InvoiceUpdated.model_fields)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-01T22:30:00+13:00",
        "2026-03-01T09:30:00Z",
        "2026-03-01t09:30:00.000000000z",
        datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        datetime(2026, 3, 1, 4, 30, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
def test_times_are_utc_once_read_and_rfc_3339_once_written(moment):
    event = ConnectionStatusChanged(**example(ConnectionStatusChanged, since=moment))
    assert event.since == datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    assert event.since.tzinfo is UTC
    assert '"since":"2026-03-01T09:30:00Z"' in event.model_dump_json()


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-01T09:30:00",
        "2026-03-01",
        "2026-13-01T09:30:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        1_772_357_400,
        "1772357400",
        datetime(2026, 3, 1),  # noqa: DTZ001 - without a zone on purpose
        None,
        "",
    ],
)
def test_times_without_zone_or_sense_are_refused(moment):
    with pytest.raises(ValidationError) as caught:
        ConnectionStatusChanged(**example(ConnectionStatusChanged, since=moment))
    assert caught.value.errors()[0]["loc"] == ("since",)


def test_flags_are_true_or_false_only():
    for value in (1, 0, "true", "yes", None):
        with pytest.raises(ValidationError):
            ConnectionStatusChanged(**example(ConnectionStatusChanged, can_refresh=value))


def test_two_events_cannot_share_a_type():
    with pytest.raises(TypeError, match="InvoiceCreated"):
        type("Impostor", (Event,), {"TYPE": InvoiceCreated.TYPE, "__module__": __name__})
    assert EVENT_TYPES[InvoiceCreated.TYPE] is InvoiceCreated


def test_a_stable_id_is_the_same_for_the_same_event_only():
    event = InvoiceCreated(**example(InvoiceCreated))
    again = InvoiceCreated(**example(InvoiceCreated, reference="changed"))
    others = [
        InvoiceCreated(**example(InvoiceCreated, version=2)),
        InvoiceCreated(**example(InvoiceCreated, account_id="acc-8")),
        InvoiceCreated(**example(InvoiceCreated, invoice_id="inv-1002")),
        InvoiceUpdated(**example(InvoiceCreated)),
        InvoiceVoided(**example(InvoiceVoided, version=1)),
    ]
    # The figure itself is promised: another release must derive the same id.
    assert stable_id(event) == stable_id(again) == "1e982317-9d78-596b-b607-82d704af2a0b"
    assert len({stable_id(other) for other in [event, *others]}) == 6


def test_ids_of_neighbours_do_not_run_into_each_other():
    one = InvoiceVoided(account_id="a", invoice_id='b", "c', version=1)
    two = InvoiceVoided(account_id='a", "b', invoice_id="c", version=1)
    assert stable_id(one) != stable_id(two)


def test_an_event_without_version_or_sequence_has_no_stable_id():
    with pytest.raises(NotEncodable, match="pass an id"):
        stable_id(ContactMapped(**example(ContactMapped)))
