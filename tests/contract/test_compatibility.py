"""A change may not break readers or writers of the last published version.

Two questions, asked of every event with `jsoncompat`:

* does the new reader accept everything the published writer writes (old records, services not yet upgraded)?
* does the published reader accept everything the new writer writes (services upgraded first)?

The writer's schema is closed and the reader's open, otherwise a new optional field, which breaks nobody,
would be called a break. jsoncompat 0.3.1 has three gaps, each proven below and closed here: it resolves no
`$ref` in a schema with a URN `$id` (so the `$id` is taken off and compared by itself), it takes one `pattern`
for as good as another, and it ignores `format`. A lost optional field is a fourth matter: it breaks no
schema, but it does break the reader who used it.

What no schema says is held against the published catalogue: the type's name, its topic, its key, and of a topic what
its readers rely on (the number of partitions decides where a key lies, and compaction what is left to read).
"""

import copy
import json
from pathlib import Path

import jsoncompat
import jsonschema
import pytest

from pipeline_contracts import EVENT_TYPES
from pipeline_contracts.schemas import (
    CATALOGUE,
    DIRECTORY,
    catalogue,
    reader_schema,
    writer_schema,
)
from pipeline_contracts.topics import FOREVER

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = DIRECTORY / "published"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
CREATED = "pipeline.invoice.created.v1"


def published(event_type, role):
    return json.loads((PUBLISHED / f"{event_type}.{role}.json").read_text(encoding="utf-8"))


def without_id(schema):
    return json.dumps({name: part for name, part in schema.items() if name != "$id"})


def objects(schema):
    """The object schemas of an event by name; the event itself is ''."""
    return {"": schema, **schema.get("$defs", {})}


def promises(schema, place=""):
    """Every `pattern` and `format` with the place it stands at."""
    if isinstance(schema, dict):
        for name, part in schema.items():
            if name in {"pattern", "format"} and isinstance(part, str):
                yield f"{place}/{name}", part
            elif name not in {"examples", "default"}:
                yield from promises(part, f"{place}/{name}")
    elif isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from promises(part, f"{place}/{index}")


def fields(schema, place=""):
    """The place of every field."""
    if isinstance(schema, dict):
        for name, part in schema.items():
            if name == "properties":
                yield from (f"{place}/{name}/{field}" for field in part)
            yield from fields(part, f"{place}/{name}")


def changed_promises(old, new):
    """Where a field of both has another pattern or format; what a new field promises, nobody relied on."""
    added = tuple(f"{place}/" for place in set(fields(new)) - set(fields(old)))
    before = dict(promises(old))
    after = {place: rule for place, rule in promises(new) if not place.startswith(added)}
    return sorted(
        place for place in before.keys() & after.keys() if before[place] != after[place]
    ) + sorted(place for place in before.keys() ^ after.keys() if place.endswith("/format"))


def lost_fields(old, new):
    after = objects(new)
    for name, part in objects(old).items():
        kept = after.get(name, {}).get("properties", {})
        yield from (f"{name}.{field}" for field in part["properties"] if field not in kept)


def breaks(old_reader, old_writer, new_reader, new_writer):
    """What a change breaks, one sentence each; none if it may be made under the same type."""
    found = []
    if old_reader["$id"] != new_reader["$id"]:
        found.append("the $id changed")
    if not jsoncompat.check_compat(without_id(old_writer), without_id(new_reader), "deserializer"):
        found.append("new readers refuse what published writers write")
    if not jsoncompat.check_compat(without_id(old_reader), without_id(new_writer), "serializer"):
        found.append("published readers refuse what new writers write")
    for old, new in ((old_reader, new_reader), (old_writer, new_writer)):
        found += [f"the rule at {place} changed" for place in changed_promises(old, new)]
    found += [f"the field {field} is gone" for field in lost_fields(old_writer, new_writer)]
    return found


def breaks_outside_schemas(old, new):
    """What a change of names, topics and keys breaks, one sentence each."""
    found = []
    for event_type, was in old["events"].items():
        now = new["events"].get(event_type)
        if now is None:
            found.append(f"{event_type}: the type is gone")
            continue
        found += [
            f"{event_type}: its {name} was {was[name]} and is {now[name]}"
            for name in ("topic", "key")
            if was[name] != now[name]
        ]
    for topic, was in old["topics"].items():
        now = new["topics"].get(topic)
        if now is None:
            found.append(f"{topic}: the topic is gone")
            continue
        found += [
            f"{topic}: its {name} was {was[name]} and is {now[name]}"
            for name in ("partitions", "compacted")
            if was[name] != now[name]
        ]
        if now["max_message_bytes"] < was["max_message_bytes"]:
            found.append(f"{topic}: smaller records only")
        if now["retention_ms"] != FOREVER and not (
            FOREVER != was["retention_ms"] <= now["retention_ms"]
        ):
            found.append(f"{topic}: kept for less long")
    return found


def published_types():
    return {path.name.removesuffix(".reader.json") for path in PUBLISHED.glob("*.reader.json")}


def test_no_published_event_has_disappeared():
    assert published_types() <= set(EVENT_TYPES)
    assert CREATED in published_types()


@pytest.mark.parametrize("event_type", sorted(published_types()))
def test_readers_and_writers_of_the_published_version_still_work(event_type):
    found = breaks(
        published(event_type, "reader"),
        published(event_type, "writer"),
        reader_schema(event_type),
        writer_schema(event_type),
    )
    assert found == [], f"{event_type}: make this change under a new type, {event_type[:-1]}2"


def breaks_since(released, current_reader=reader_schema, current_writer=writer_schema):
    """What a change breaks for the readers and writers of a folder of published schemas, one sentence each."""
    found = []
    for path in sorted(released.glob("*.reader.json")):
        event_type = path.name.removesuffix(".reader.json")
        if event_type not in EVENT_TYPES:
            found.append(f"{event_type}: the type is gone")
            continue
        old = [json.loads((released / f"{event_type}.{role}.json").read_text(encoding="utf-8")) for role in ("reader", "writer")]  # fmt: skip
        new = current_reader(event_type), current_writer(event_type)
        found += [f"{event_type}: {each}" for each in breaks(*old, *new)]
    if (names := released / "catalogue.json").exists():
        found += breaks_outside_schemas(json.loads(names.read_text(encoding="utf-8")), catalogue())
    return found


def test_readers_and_writers_of_the_last_release_still_work(former_release):
    """`published/` may be renewed in the very change that breaks somebody; what was released stands in the history."""
    released = former_release.folder / DIRECTORY.relative_to(ROOT) / "published"
    assert (released / f"{CREATED}.reader.json").exists()
    assert breaks_since(released) == []

    def without_due_date(event_type):
        schema = reader_schema(event_type)
        schema["properties"].pop("due_date", None)
        return schema

    def writer(event_type):
        return without_due_date(event_type) | {"additionalProperties": False}

    told = breaks_since(released, without_due_date, writer)
    assert f"{CREATED}: the field .due_date is gone" in told


def test_names_topics_and_keys_are_those_of_the_published_version():
    old = json.loads((DIRECTORY / CATALOGUE).read_text(encoding="utf-8"))
    assert set(old["events"]) == published_types()
    assert breaks_outside_schemas(old, catalogue()) == []


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_published_schemas_accept_every_golden_record(path):
    golden = json.loads(path.read_text(encoding="utf-8"))
    event_type = dict(golden["headers"])["ce_type"]
    for schema in (reader_schema(event_type), published(event_type, "reader")):
        jsonschema.Draft202012Validator(schema).validate(json.loads(golden["value"]))


# --- the gate itself, on planted edits ------------------------------------------------------------


def planted(edit_reader, edit_writer=None):
    schemas = [published(CREATED, "reader"), published(CREATED, "writer")]
    edited = copy.deepcopy(schemas)
    edit_reader(edited[0])
    (edit_writer or edit_reader)(edited[1])
    return breaks(*schemas, *edited)


def line(schema):
    return schema["$defs"]["InvoiceLine"]


def nothing(schema):
    pass


def drop_required(schema):
    line(schema)["required"].remove("quantity")
    del line(schema)["properties"]["quantity"]


def drop_optional(schema):
    del line(schema)["properties"]["item_code"]


def make_optional(schema):
    schema["required"].remove("due_date")


def add_required(schema):
    line(schema)["properties"]["unit"] = {"type": "string"}
    line(schema)["required"].append("unit")


def add_optional(schema):
    line(schema)["properties"]["unit"] = {"type": "string"}


def add_optional_date(schema):
    line(schema)["properties"]["delivered"] = {"type": "string", "format": "date"}


def add_format(schema):
    schema["properties"]["invoice_number"]["format"] = "uuid"


def change_type(schema):
    schema["properties"]["version"] = {"type": "string"}


def change_type_inside(schema):
    line(schema)["properties"]["description"] = {"type": "integer"}


def rename(schema):
    schema["properties"]["grand_total"] = schema["properties"].pop("total")
    schema["required"].remove("total")
    schema["required"].append("grand_total")


def shorten(schema):
    schema["properties"]["invoice_number"]["maxLength"] = 10


def lengthen(schema):
    schema["properties"]["invoice_number"]["maxLength"] = 100_000


def narrow_words(schema):
    schema["properties"]["amounts_are"]["enum"] = ["tax_exclusive", "no_tax"]


def new_word(schema):
    schema["properties"]["amounts_are"]["enum"].append("by_moonlight")


def change_pattern(schema):
    schema["properties"]["total"] = json.loads(
        json.dumps(schema["properties"]["total"]).replace("{1,15}", "{1,5}")
    )


def change_format(schema):
    schema["properties"]["due_date"]["format"] = "date-time"


def change_id(schema):
    schema["$id"] += ".draft"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (drop_required, "published readers refuse what new writers write"),
        (drop_optional, "the field InvoiceLine.item_code is gone"),
        (make_optional, "published readers refuse what new writers write"),
        (add_required, "new readers refuse what published writers write"),
        (change_type, "published readers refuse what new writers write"),
        (change_type_inside, "new readers refuse what published writers write"),
        (rename, "the field .total is gone"),
        (shorten, "new readers refuse what published writers write"),
        (lengthen, "published readers refuse what new writers write"),
        (narrow_words, "new readers refuse what published writers write"),
        (change_pattern, "the rule at /properties/total/pattern changed"),
        (change_format, "the rule at /properties/due_date/format changed"),
        (add_format, "the rule at /properties/invoice_number/format changed"),
        (change_id, "the $id changed"),
    ],
)
def test_the_gate_shuts_on_a_break(edit, told):
    assert told in planted(edit)


def rename_type(names):
    names["events"]["pipeline.invoice.made.v1"] = names["events"].pop(CREATED)


def move_to_another_topic(names):
    names["events"][CREATED]["topic"] = "pipeline.invoices.v2"


def key_by_something_else(names):
    names["events"][CREATED]["key"] = "customer_id"


def rename_topic(names):
    names["topics"]["pipeline.bills.v1"] = names["topics"].pop("pipeline.invoices.v1")


def more_partitions(names):
    names["topics"]["pipeline.invoices.v1"]["partitions"] = 12


def compact(names):
    names["topics"]["pipeline.invoices.v1"]["compacted"] = True


def keep_for_a_day(names):
    names["topics"]["pipeline.payments.v1"]["retention_ms"] = 86_400_000


def shrink(names):
    names["topics"]["pipeline.invoices.v1"]["max_message_bytes"] -= 1


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (rename_type, f"{CREATED}: the type is gone"),
        (
            move_to_another_topic,
            f"{CREATED}: its topic was pipeline.invoices.v1 and is pipeline.invoices.v2",
        ),
        (key_by_something_else, f"{CREATED}: its key was invoice_id and is customer_id"),
        (rename_topic, "pipeline.invoices.v1: the topic is gone"),
        (more_partitions, "pipeline.invoices.v1: its partitions was 6 and is 12"),
        (compact, "pipeline.invoices.v1: its compacted was False and is True"),
        (keep_for_a_day, "pipeline.payments.v1: kept for less long"),
        (shrink, "pipeline.invoices.v1: smaller records only"),
    ],
)
def test_the_gate_shuts_on_a_break_that_no_schema_shows(edit, told):
    names = copy.deepcopy(catalogue())
    edit(names)
    assert breaks_outside_schemas(catalogue(), names) == [told]


def test_new_events_topics_and_longer_keeping_break_nobody():
    names = copy.deepcopy(catalogue())
    names["events"]["pipeline.invoice.archived.v1"] = {"topic": "pipeline.new.v1", "key": "id"}
    names["topics"]["pipeline.new.v1"] = names["topics"]["pipeline.invoices.v1"]
    names["topics"]["pipeline.customers.v1"]["retention_ms"] = FOREVER
    assert breaks_outside_schemas(catalogue(), names) == []


def test_the_gate_is_open_to_what_breaks_nobody():
    assert planted(nothing) == []
    assert planted(add_optional) == []
    assert planted(add_optional_date) == []
    # Readers take any word, so writers may have new ones and give up old ones.
    assert planted(nothing, new_word) == []
    assert planted(nothing, narrow_words) == []
    # Readers may become more generous before writers do.
    assert planted(lengthen, nothing) == []


def test_a_reader_with_a_closed_list_of_words_would_shut_the_gate_on_new_ones():
    reader, writer = published(CREATED, "reader"), published(CREATED, "writer")
    closed = copy.deepcopy(reader)
    closed["properties"]["amounts_are"] = copy.deepcopy(writer["properties"]["amounts_are"])
    grown = copy.deepcopy(writer)
    new_word(grown)
    assert "published readers refuse what new writers write" in breaks(
        closed, writer, closed, grown
    )


def test_the_gaps_of_jsoncompat_are_still_the_ones_closed_here():
    """Should one of these fail, the tool has learnt something and `breaks` can lose a rule."""
    for old, new in (
        ({"pattern": "^a*$"}, {"pattern": "^b*$"}),
        ({"format": "date"}, {"format": "uuid"}),
    ):
        texts = [json.dumps({"type": "string", **part}) for part in (old, new)]
        assert jsoncompat.check_compat(*texts, "both")
    with pytest.raises(ValueError, match="unsupported reference"):
        jsoncompat.check_compat(
            json.dumps(writer_schema(CREATED)), json.dumps(reader_schema(CREATED)), "deserializer"
        )
