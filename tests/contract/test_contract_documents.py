"""What is published about the events says what the code does, and the tools of others can read it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from axe_playwright_python.async_playwright import Axe
from pages import Save, steps_of
from playwright.async_api import async_playwright

from pipeline_contracts import EVENT_TYPES, topics
from pipeline_local_stack.contract_docs.__main__ import (
    FOLDER,
    TYPESCRIPT,
    differences,
    from_python,
    types,
)
from pipeline_local_stack.node_packages import installed
from pipeline_local_stack.stack import SERVICES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "integrate-in-ten-minutes.md"
_WARNING = 1


@pytest.fixture(scope="module")
def told():
    return yaml.safe_load((FOLDER / "asyncapi.yaml").read_text("utf-8"))


@pytest.fixture(scope="module")
def packages(npm):
    return installed(npm, TYPESCRIPT)


def node(packages, *arguments, cwd=None):
    return subprocess.run(
        [shutil.which("node"), *arguments],
        cwd=cwd or packages,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_committed_files_are_what_the_code_says_now(tmp_path):
    assert list(differences(from_python())) == []
    missing, other = tmp_path / "missing.yaml", tmp_path / "other.yaml"
    other.write_text("as it was")
    assert list(differences({missing: "", other: "as it is"})) == [
        "missing.yaml is missing: run `make contracts`",
        "other.yaml is not what the code says: run `make contracts`",
    ]


def test_every_topic_is_told_with_its_key_and_settings(told):
    by_address = {channel["address"]: channel for channel in told["channels"].values()}
    assert by_address.keys() == {topic.name for topic in topics.PUBLIC}
    for topic in topics.PUBLIC:
        binding = by_address[topic.name]["bindings"]["kafka"]
        assert binding["partitions"] == topic.partitions
        assert {
            name: value if isinstance(value, str) else ",".join(value) if isinstance(value, list) else str(value)
            for name, value in binding["topicConfiguration"].items()
        } == topic.config  # fmt: skip


def test_every_event_is_told_on_its_topic_with_examples_that_are_valid(told):
    placed = {
        message: channel["address"]
        for channel in told["channels"].values()
        for message in channel["messages"]
        if message != "DeadLetter"
    }
    assert placed == {model.__name__: model.TOPIC for model in EVENT_TYPES.values()}
    for model in EVENT_TYPES.values():
        message = told["components"]["messages"][model.__name__]
        assert message["name"] == model.TYPE
        schema, headers = (
            json.loads(
                json.dumps({**told["components"], **message[part]}).replace("#/components", "#")
            )
            for part in ("payload", "headers")
        )
        assert message["examples"]
        for example in message["examples"]:
            jsonschema.Draft202012Validator(schema).validate(example["payload"])
            jsonschema.Draft202012Validator(headers).validate(example["headers"])
            key = example["payload"][message["x-key"]]
            assert key == example["headers"].get("ce_subject", key)


def test_the_official_parser_takes_the_document_and_would_refuse_a_broken_one(packages, tmp_path):
    validate = shutil.copy(TYPESCRIPT / "validate.mjs", packages)
    whole = FOLDER / "asyncapi.yaml"
    broken = tmp_path / "broken.yaml"
    text = whole.read_text("utf-8")
    # An example's money turns into a list, and a channel points at a message that is not there.
    broken.write_text(
        text.replace("total: '287.50'", "total: [1]").replace(
            "messages/PaymentRecorded'", "messages/PaymentRecord'"
        )
    )
    answers = [json.loads(node(packages, validate, file).stdout) for file in (whole, broken)]
    serious = [
        [each for each in answer["found"] if each["severity"] <= _WARNING] for answer in answers
    ]
    assert serious[0] == []
    assert set(answers[0]["messages"]) == {*EVENT_TYPES, "dead-letter"}
    assert not answers[1]["parsed"]
    assert {"asyncapi3-message-examples", "invalid-ref"} & {each["code"] for each in serious[1]}


def test_the_types_are_what_the_schemas_say_and_compile_with_the_programs_that_use_them(
    npm, packages, tmp_path
):
    assert list(differences(types(npm))) == []
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    place = tmp_path / TYPESCRIPT.relative_to(ROOT)
    place.mkdir(parents=True)
    for name in ("events.d.ts", "use.ts"):
        shutil.copy(TYPESCRIPT / name, place)
    shutil.copy(TYPESCRIPT / "tsconfig.json", tmp_path)
    for step in steps_of(PAGE.read_text("utf-8")):
        if isinstance(step, Save) and step.path.suffix == ".mjs":
            program = tmp_path / step.path
            program.parent.mkdir(parents=True)
            program.write_text(step.text)
            settings = json.loads((tmp_path / "tsconfig.json").read_text())
            files = [str(place / "use.ts"), str(program)]
            (tmp_path / "tsconfig.json").write_text(json.dumps({**settings, "files": files}))
    compiled = node(packages, "node_modules/typescript/bin/tsc", "-p", str(tmp_path))
    assert compiled.returncode == 0, compiled.stdout
    # It can fail: an invoice whose version is a word.
    spoilt = place / "use.ts"
    spoilt.write_text(spoilt.read_text().replace("version: 1,", "version: 'one',"))
    assert "TS2322" in node(packages, "node_modules/typescript/bin/tsc", "-p", str(tmp_path)).stdout


def test_the_page_loads_nothing_and_names_everything():
    page = (FOLDER / "index.html").read_text("utf-8")
    assert not re.search(r"<script|<link|<img|<iframe|@import|url\(|src=", page)
    for model in EVENT_TYPES.values():
        assert f'id="{model.__name__}"' in page
        assert model.TYPE in page
    anchors = set(re.findall(r'href="#([^"]+)"', page))
    assert anchors <= set(re.findall(r'id="([^"]+)"', page))
    for link in re.findall(r'href="([^#"][^"]*)"', page):
        assert (FOLDER / link).exists(), link


@pytest.mark.browser
@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_anybody_can_read_the_page_on_a_phone(chromium, colours):
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = await browser.new_page(color_scheme=colours, viewport={"width": 360, "height": 800})
        await page.goto((FOLDER / "index.html").as_uri())
        judged = await Axe().run(page)
        assert judged.violations_count == 0, judged.generate_report()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await browser.close()


def test_the_catalogue_names_every_service_and_the_document():
    entities = list(yaml.safe_load_all((ROOT / "catalog-info.yaml").read_text("utf-8")))
    names = {entity["metadata"]["name"] for entity in entities}
    components = {e["metadata"]["name"] for e in entities if e["kind"] == "Component"}
    assert set(SERVICES) <= components
    (api,) = (entity for entity in entities if entity["kind"] == "API")
    assert api["spec"]["type"] == "asyncapi"
    assert (ROOT / api["spec"]["definition"]["$text"]).resolve() == FOLDER / "asyncapi.yaml"
    for entity in entities:
        spec = entity["spec"]
        mentioned = [
            spec.get("system"),
            *spec.get("providesApis", []),
            *spec.get("consumesApis", []),
        ]
        mentioned += [each.removeprefix("component:") for each in spec.get("dependsOn", [])]
        assert {name for name in mentioned if name} <= names
