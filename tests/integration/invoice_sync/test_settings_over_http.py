"""Settings and code mappings over HTTP: who may, what is refused and by which name, and the ETag between two people."""

import json

import httpx
import pytest
from invoice_sync_api import Callers, app_over

from invoice_sync.domain.account_settings import AccountSettings
from invoice_sync.store import account_settings


@pytest.fixture
async def http_of(sync_dsn, service, tmp_path):
    """A client in front of the application over the service's own parts, and the makers of its callers' headers."""
    callers = Callers()
    app = app_over(service.deps, sync_dsn, tmp_path, callers)

    def headers(role=None, account_id=None, service_name=None, if_match=None):
        found = (
            callers.service(service_name)
            if service_name
            else callers.person(account_id or service.account_id, role)
        )
        return found | ({} if if_match is None else {"If-Match": if_match})

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://invoice-sync") as client:
        yield client, headers, f"/v1/accounts/{service.account_id}"


async def test_settings_are_read_changed_and_read_by_their_etag(http_of):
    client, headers, root = http_of
    first = await client.get(f"{root}/settings", headers=headers("viewer"))
    assert (first.status_code, first.headers["etag"]) == (200, '"0"')
    body = {
        key: value
        for key, value in first.json().items()
        if key not in {"account_id", "version", "released"}
    }
    assert body == {
        "invoice_status": "authorised",
        "start_date": None,
        "mapping_policy": "create",
        "default_account_code": None,
        "default_tax_type": None,
        "number_prefix": "",
        "edit_policy": "block",
    }
    wanted = body | {
        "invoice_status": "draft",
        "start_date": "2026-02-28",
        "mapping_policy": "match",
    }
    missing = await client.put(f"{root}/settings", headers=headers("admin"), json=wanted)
    assert (missing.status_code, missing.json()["code"]) == (428, "IF_MATCH_MISSING")
    any_at_all = await client.put(
        f"{root}/settings", headers=headers("admin", if_match="*"), json=wanted
    )
    assert (any_at_all.status_code, any_at_all.json()["code"]) == (428, "IF_MATCH_MISSING")
    changed = await client.put(
        f"{root}/settings", headers=headers("admin", if_match='"0"'), json=wanted
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, '"1"')
    for tag in ('"0"', '"x"', "", '"99999999999999999999"'):
        stale = await client.put(
            f"{root}/settings", headers=headers("admin", if_match=tag), json=body
        )
        assert (stale.status_code, stale.json()["code"]) == (412, "SETTINGS_CHANGED"), tag
        assert stale.headers["etag"] == '"1"'
    by_service = headers(service_name="pipeline-backend", if_match='W/"1"')
    again = await client.put(f"{root}/settings", headers=by_service, json=body)
    assert (again.status_code, again.json()["version"]) == (200, 2)
    changes = await client.get(f"{root}/settings/changes?limit=1", headers=headers("viewer"))
    assert changes.json()["next_after"] == 1
    (first_change,) = changes.json()["changes"]
    assert first_change["actor"] == "user:u"
    assert first_change["before"] == body | {"version": 0}
    assert first_change["after"] == wanted | {"version": 1}
    mapped = f"{root}/code-mappings/tax/GST"
    await client.put(mapped, headers=headers("operator"), json={"xero_code": "OUTPUT2"})
    await client.delete(mapped, headers=headers("operator"))
    rest = await client.get(f"{root}/settings/changes?after=2", headers=headers("viewer"))
    assert [(each["before"], each["after"]) for each in rest.json()["changes"]] == [
        (None, "OUTPUT2"),
        ("OUTPUT2", None),
    ]


RUBBISH = {
    "invoice_status": [None, "", "Draft", "paid", 1, [], {}, "\0", "x" * 10_000],
    "start_date": ["", "2026-02-30", "26-02-01", "01/02/2026", 20260201, True, [], {}, "2026-02-01T00:00:00Z", "\0"],
    "mapping_policy": [None, "guess", 0, ["strict"]],
    "default_account_code": ["", " 200", "200 ", "x" * 11, 200, [], "\0", "2\n0", "\ud800"],
    "default_tax_type": ["", "x" * 51, 1.5, {}, "\u0000"],
    "number_prefix": [None, " A", "x" * 21, 7, [], "a\tb", "\x7f"],
    "edit_policy": [None, "", "Merge", "overwrite", 1, ["merge"]],
    "unheard_of": ["x"],
}  # fmt: skip


@pytest.mark.parametrize("field", RUBBISH)
async def test_rubbish_in_a_field_is_refused_by_the_fields_name(http_of, service, field):
    client, headers, root = http_of
    for value in RUBBISH[field]:
        answer = await client.put(
            f"{root}/settings",
            headers=headers("admin", if_match='"0"') | {"Content-Type": "application/json"},
            content=json.dumps({field: value}),
        )
        assert answer.status_code == 422, (value, answer.text)
        assert [each["field"] for each in answer.json()["errors"]] == [f"body.{field}"], value
        assert answer.json()["errors"][0]["message"]
    for body in (b"", b"[]", b"null", b"{", b'"x"', b"\xff"):
        answer = await client.put(
            f"{root}/settings",
            headers=headers("admin", if_match='"0"') | {"Content-Type": "application/json"},
            content=body,
        )
        assert answer.status_code in {400, 422}, body
    async with service.pool.acquire() as conn:
        assert await account_settings.find(conn, service.account_id) == AccountSettings()


async def test_who_may_read_and_change(http_of):
    client, headers, root = http_of
    body, code = {}, {"xero_code": "200"}
    mapping = f"{root}/code-mappings/account/SALES"
    for role in ("viewer", "operator"):
        answer = await client.put(
            f"{root}/settings", headers=headers(role, if_match='"0"'), json=body
        )
        assert answer.status_code == 403
    for method, path, sent in (("PUT", mapping, code), ("DELETE", mapping, None)):
        answer = await client.request(method, path, headers=headers("viewer"), json=sent)
        assert answer.status_code == 403
    for path in (
        "/settings",
        "/settings/changes",
        "/code-mappings/account",
        "/code-mappings/account/SALES",
    ):
        assert (await client.get(root + path)).status_code == 401
        stranger = headers("admin", account_id="acc-other")
        assert (await client.get(root + path, headers=stranger)).status_code == 404
        wrong = headers(service_name="payment-ingest")
        assert (await client.get(root + path, headers=wrong)).status_code == 403
    stranger = headers("admin", account_id="acc-other", if_match='"0"')
    assert (await client.put(f"{root}/settings", headers=stranger, json=body)).status_code == 404
    assert (await client.put(mapping, headers=stranger, json=code)).status_code == 404
    assert (await client.delete(mapping, headers=stranger)).status_code == 404


async def test_code_mappings_by_api(http_of):
    client, headers, root = http_of
    may = headers("operator")
    for code in ("A/1", "Ä€😀", "B"):
        answer = await client.put(
            f"{root}/code-mappings/account/{code}", headers=may, json={"xero_code": "200"}
        )
        assert (answer.status_code, answer.json()["code"]) == (200, code)
        assert answer.json()["checked"] is False
    listed = await client.get(f"{root}/code-mappings/account?limit=2", headers=may)
    assert [each["code"] for each in listed.json()["mappings"]] == sorted(["A/1", "B", "Ä€😀"])[:2]
    rest = await client.get(
        f"{root}/code-mappings/account", params={"after": listed.json()["next_after"]}, headers=may
    )
    assert len(rest.json()["mappings"]) == 1
    assert (await client.get(f"{root}/code-mappings/tax", headers=may)).json()["mappings"] == []
    assert (await client.get(f"{root}/code-mappings/account/A/1", headers=may)).json()[
        "xero_code"
    ] == "200"
    assert (
        await client.delete(f"{root}/code-mappings/account/A/1", headers=may)
    ).status_code == 204
    assert (
        await client.delete(f"{root}/code-mappings/account/A/1", headers=may)
    ).status_code == 404
    assert (await client.get(f"{root}/code-mappings/account/A/1", headers=may)).json()[
        "code"
    ] == "CODE_NOT_MAPPED"
    tracked = await client.put(
        f"{root}/code-mappings/tracking/Area: N", headers=may, json={"xero_code": "Region: North"}
    )
    assert tracked.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("account/S", {"xero_code": ""}),
        ("account/S", {"xero_code": " 200"}),
        ("account/S", {"xero_code": "x" * 11}),
        ("account/S", {"xero_code": 200}),
        ("account/S", {"xero_code": None}),
        ("account/S", {"xero_code": "2\x000"}),
        ("account/S", {}),
        ("account/S", {"xero_code": "200", "more": 1}),
        ("account/S", []),
        ("item/S", {"xero_code": "x" * 31}),
        ("tax/S", {"xero_code": "x" * 51}),
        ("tracking/Region", {"xero_code": "Region: North"}),
        ("tracking/Region: North", {"xero_code": "North"}),
        ("tracking/Region: ", {"xero_code": "A: B"}),
        ("colour/S", {"xero_code": "200"}),
        ("account/%00", {"xero_code": "200"}),
        ("account/" + "x" * 2003, {"xero_code": "200"}),
    ],
)
async def test_rubbish_as_a_mapping_is_refused(http_of, path, body):
    client, headers, root = http_of
    answer = await client.put(f"{root}/code-mappings/{path}", headers=headers("admin"), json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"]
