import json
from importlib.metadata import requires
from importlib.resources import files as package_files
from pathlib import Path

import jsonschema
import pytest

from pipeline_contracts import EVENT_TYPES
from pipeline_contracts.schemas import (
    DIRECTORY,
    build_event_json_schemas,
    differences,
    main,
    reader_schema,
    writer_schema,
)

ROOT = Path(__file__).parents[3]
EVERY = pytest.mark.parametrize("event_type", EVENT_TYPES)


def example(event_type):
    return dict(EVENT_TYPES[event_type].model_config["json_schema_extra"]["examples"][0])


def test_the_committed_files_are_what_the_code_says():
    assert list(differences(DIRECTORY)) == [], "run `make schemas`"


def test_the_files_are_found_where_the_readme_says():
    assert (ROOT / "libs" / "contracts" / "schemas").resolve() == DIRECTORY.resolve()


@EVERY
def test_each_schema_is_valid_and_has_its_stable_id(event_type):
    schema = build_event_json_schemas()[event_type]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:pipeline:schema:{event_type}"
    assert writer_schema(event_type)["$id"] != schema["$id"]


@EVERY
def test_readers_are_open_and_writers_are_closed_at_every_level(event_type):
    body = example(event_type)
    reader = jsonschema.Draft202012Validator(reader_schema(event_type))
    writer = jsonschema.Draft202012Validator(writer_schema(event_type))
    reader.validate(body)
    writer.validate(body)
    for grown in (body | {"novelty": 1}, *grown_inside(body)):
        reader.validate(grown)
        assert not writer.is_valid(grown)


def grown_inside(body):
    for name, inner in body.items():
        if isinstance(inner, dict):
            yield body | {name: inner | {"novelty": 1}}
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield body | {name: [inner[0] | {"novelty": 1}]}


@EVERY
def test_schemas_refuse_the_structural_nonsense_that_decode_refuses(event_type):
    validator = jsonschema.Draft202012Validator(reader_schema(event_type))
    for wrong in ({"account_id": ""}, {"account_id": 5}, {"account_id": None}):
        assert not validator.is_valid(example(event_type) | wrong)
    body = example(event_type)
    del body["account_id"]
    assert not validator.is_valid(body)


def test_writing_renews_what_differs_and_comparing_tells_it(tmp_path, capsys):
    assert main(["--directory", str(tmp_path)]) == 1
    assert "pipeline.invoice.created.v1.json is missing" in capsys.readouterr().err
    assert main(["--directory", str(tmp_path), "--write"]) == 0
    assert not (tmp_path / "published").exists()
    assert main(["--directory", str(tmp_path)]) == 0
    (tmp_path / "pipeline.invoice.created.v1.json").write_text("{}")
    (tmp_path / "pipeline.invoice.forgotten.v1.json").write_text("{}")
    assert main(["--directory", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "pipeline.invoice.created.v1.json is not what the code says" in told
    assert "pipeline.invoice.forgotten.v1.json belongs to no event" in told


def test_publishing_keeps_both_schemas_of_every_event(tmp_path):
    assert main(["--directory", str(tmp_path), "--publish"]) == 0
    published = {path.name for path in (tmp_path / "published").iterdir()}
    assert published == {
        *(f"{name}.{role}.json" for name in EVENT_TYPES for role in ("reader", "writer")),
        "catalogue.json",
    }
    for name in EVENT_TYPES:
        text = (tmp_path / "published" / f"{name}.writer.json").read_text()
        assert json.loads(text) == writer_schema(name)


def test_the_library_needs_pydantic_only_and_carries_types_and_schemas():
    needed = [need for need in requires("pipeline-contracts") or [] if "extra ==" not in need]
    assert [need.split(">")[0] for need in needed] == ["pydantic"]
    package = package_files("pipeline_contracts")
    assert package.joinpath("py.typed").is_file()
    for event_type in EVENT_TYPES:
        assert package.joinpath("json_schemas", f"{event_type}.json").is_file()
