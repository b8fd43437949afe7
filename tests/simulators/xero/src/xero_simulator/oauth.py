"""The OAuth pages: authorize with consent, token, revocation, keys, connections."""

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, PackageLoader

from xero_simulator import signing
from xero_simulator.access import UNSUCCESSFUL, AccessRefused, bearer, refusal
from xero_simulator.grants import BROAD_SCOPES, SCOPES, GrantRefused, Issue
from xero_simulator.http import HttpRequest, answer_html, answer_json, redirect
from xero_simulator.idempotency import Answer
from xero_simulator.seed import User
from xero_simulator.wire import Json
from xero_simulator.world import World

_PAGES = Environment(loader=PackageLoader("xero_simulator"), autoescape=True)
_CARRIED = ("response_type", "client_id", "redirect_uri", "scope", "state", "nonce",
            "code_challenge", "code_challenge_method", "acr_values")  # fmt: skip


# Xero shows the cap on a page of its own, authorize.xero.com/connectionLimit, and sends nobody back to the app
# (github.com/PipedreamHQ/pipedream/issues/21951, September 2026); already before anybody signs in
# (community.xero.com/developer/discussion/124574507). Whether an organisation that is connected already passes when no
# place is left is not established: here it does not, as reported there.
LIMIT_PATH = "/connectionLimit"


class AuthorizeRefused(Exception):  # noqa: N818 -- the refusal, shown by Xero itself
    """Shown as a page by Xero; never redirected to an address that is not registered."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Authorization:
    """A valid authorization request."""

    redirect_uri: str
    scopes: frozenset[str]
    state: str
    nonce: str
    challenge: str
    bulk: bool
    fields: tuple[tuple[str, str], ...]


def authorize_page(world: World, request: HttpRequest) -> Answer:
    """GET /identity/connect/authorize: the consent page, or its answer when one is arranged."""
    try:
        wanted = _read(world, dict(request.query))
    except AuthorizeRefused as refused:
        return _refused_page(refused)
    if _places_left(world) == 0:
        return redirect(LIMIT_PATH)
    if world.auto_consent is not None:
        return _answer_by_itself(world, wanted)
    user = world.user_by_email(request.query.get("sim_user", "")) or next(
        iter(world.users.values())
    )
    return _page(world, wanted, user)


def authorize_answer(world: World, request: HttpRequest) -> Answer:
    """POST /identity/connect/authorize: the form of the consent page."""
    form = request.form()
    try:
        wanted = _read(world, form)
    except AuthorizeRefused as refused:
        return _refused_page(refused)
    user = world.users.get(form.get("user", ""))
    if user is None:
        return _refused_page(AuthorizeRefused("invalid_request", "Nobody is signed in"))
    if form.get("action") != "allow":
        return _cancelled(wanted)
    chosen = [tenant for tenant in request.form_list("tenant") if tenant in user.tenant_ids]
    if not wanted.bulk:
        chosen = chosen[:1]
    if not chosen:
        return _page(world, wanted, user, "Choose at least one organisation.")
    return _allowed(world, wanted, user, chosen)


def token(world: World, request: HttpRequest) -> Answer:
    """POST /connect/token."""
    try:
        issue = _issue(world, _authenticated_form(world, request))
    except GrantRefused as refused:
        return answer_json(400, {"error": refused.error})
    body = _token_body(world, issue, issuer(world, request))
    return answer_json(200, body, ("Cache-Control", "no-store"))


def revocation(world: World, request: HttpRequest) -> Answer:
    """POST /connect/revocation: 200 and empty, also for a token nobody knows (RFC 7009)."""
    try:
        form = _authenticated_form(world, request)
    except GrantRefused as refused:
        return answer_json(400, {"error": refused.error})
    world.grants.revoke(form.get("token", ""))
    return Answer(200, (), b"")


def discovery(world: World, request: HttpRequest) -> Answer:
    """GET /.well-known/openid-configuration."""
    return answer_json(200, signing.discovery(issuer(world, request), sorted(SCOPES)))


def jwks(_world: World, _request: HttpRequest) -> Answer:
    """GET /.well-known/openid-configuration/jwks."""
    return answer_json(200, signing.jwks())


def connections(world: World, request: HttpRequest) -> Answer:
    """GET /connections[?authEventId=]: a bare array."""
    try:
        access = bearer(world, request.headers)
    except AccessRefused as refused:
        return refused.answer
    wanted = request.query.get("authEventId", "").lower()
    rows = [
        {
            "id": row.connection_id,
            "authEventId": row.auth_event_id,
            "tenantId": row.tenant_id,
            "tenantType": "ORGANISATION",
            "tenantName": world.books[row.tenant_id].organisation.name,
            "createdDateUtc": _ticks(row.created),
            "updatedDateUtc": _ticks(row.updated),
        }
        for row in world.grants.connections_of(access.user_id)
        if wanted in {"", row.auth_event_id}
    ]
    return answer_json(200, rows)


def delete_connection(world: World, request: HttpRequest) -> Answer:
    """DELETE /connections/{id}: 204; a tenant id there gets 403, an unknown one 404."""
    try:
        access = bearer(world, request.headers)
    except AccessRefused as refused:
        return refused.answer
    key = request.path.rsplit("/", 1)[-1].lower()
    row = world.grants.connections.get(key)
    if row is None and key not in world.books:
        return refusal(world, 404, "NotFound", "")
    if row is None or row.user_id != access.user_id:
        return refusal(world, 403, UNSUCCESSFUL, "")
    del world.grants.connections[key]
    return Answer(204, (), b"")


def issuer(world: World, request: HttpRequest) -> str:
    """The `iss` of tokens: configured, or the address the caller used."""
    return world.settings.issuer or request.base_url


def _read(world: World, fields: dict[str, str]) -> Authorization:
    """Checks an authorization request in Xero's order.

    Raises:
        AuthorizeRefused: It is wrong in a way Xero shows itself.
    """
    if fields.get("client_id") != world.settings.client_id:
        raise AuthorizeRefused("unauthorized_client", "Unknown client or client not enabled")
    if fields.get("redirect_uri") not in world.redirect_uris:
        raise AuthorizeRefused("invalid_request", "Invalid redirect_uri")
    if fields.get("response_type") != "code":
        raise AuthorizeRefused("unsupported_response_type", "Only code is supported")
    scopes = frozenset(fields.get("scope", "").split())
    known = SCOPES | BROAD_SCOPES if world.switches.allow_broad_scopes else SCOPES
    if not scopes or scopes - known:
        raise AuthorizeRefused("invalid_scope", "Invalid scope for client")
    challenge = fields.get("code_challenge", "")
    if challenge and fields.get("code_challenge_method") != "S256":
        raise AuthorizeRefused("invalid_request", "code_challenge_method must be S256")
    return Authorization(
        redirect_uri=fields["redirect_uri"],
        scopes=scopes,
        state=fields.get("state", ""),
        nonce=fields.get("nonce", ""),
        challenge=challenge,
        bulk="bulk_connect:false" not in fields.get("acr_values", ""),
        fields=tuple((name, fields[name]) for name in _CARRIED if name in fields),
    )


def _page(world: World, wanted: Authorization, user: User, problem: str = "") -> Answer:
    others = [
        (
            other,
            "/identity/connect/authorize?" + urlencode([*wanted.fields, ("sim_user", other.email)]),
        )
        for other in world.users.values()
        if other.user_id != user.user_id
    ]
    tenants = [
        (tenant, world.books[tenant].organisation.name, world.grants.reaches(user.user_id, tenant))
        for tenant in user.tenant_ids
    ]
    text = _PAGES.get_template("consent.html").render(
        provider=world.settings.provider,
        problem=problem,
        user=user,
        others=others,
        hidden=[*wanted.fields, ("user", user.user_id)],
        tenants=tenants,
        bulk=wanted.bulk,
        scopes=", ".join(sorted(wanted.scopes)),
    )
    return answer_html(200, text)


def _refused_page(refused: AuthorizeRefused) -> Answer:
    page = _PAGES.from_string(
        "<!doctype html><title>Error</title><h1>Sorry, something went wrong</h1>"
        "<p>Error: <code>{{ error }}</code></p><p>{{ description }}</p>"
    )
    return answer_html(400, page.render(error=refused.error, description=refused.description))


def _answer_by_itself(world: World, wanted: Authorization) -> Answer:
    arranged = world.auto_consent
    if arranged is None:
        raise AssertionError("only called with an arranged answer")
    if arranged.times:
        arranged.times -= 1
        if not arranged.times:
            world.auto_consent = None
    user = world.user_by_email(arranged.user)
    if user is None:
        return _refused_page(AuthorizeRefused("invalid_request", "No such user"))
    if arranged.action != "allow":
        return _cancelled(wanted)
    chosen = [
        tenant
        for tenant in user.tenant_ids
        if not arranged.tenants
        or tenant in arranged.tenants
        or world.books[tenant].organisation.name in arranged.tenants
    ]
    return _allowed(world, wanted, user, chosen if wanted.bulk else chosen[:1])


def connection_limit(_world: World, _request: HttpRequest) -> Answer:
    """GET /connectionLimit: where Xero leaves people when the app has no place left; nothing leads back to the app."""
    return answer_html(
        200,
        "<!doctype html><title>Connection limit</title><h1>This app cannot connect to more organisations</h1>"
        "<p>It has reached the number of connections its plan allows. Please contact the app's developer.</p>",
    )


def _places_left(world: World) -> int | None:
    """Organisations that may still be connected; None without a limit."""
    limit = world.switches.connection_limit
    if not limit:
        return None
    return max(0, limit - len({row.tenant_id for row in world.grants.connections.values()}))


def _allowed(world: World, wanted: Authorization, user: User, chosen: list[str]) -> Answer:
    left = _places_left(world)
    held = {row.tenant_id for row in world.grants.connections.values()}
    if left is not None and len(set(chosen) - held) > left:
        return redirect(LIMIT_PATH)
    code = world.grants.consent(
        user.user_id,
        chosen,
        wanted.scopes,
        wanted.redirect_uri,
        wanted.challenge,
        wanted.nonce,
        world.clock.now(),
    )
    fields = {"code": code, "scope": " ".join(sorted(wanted.scopes)), "state": wanted.state}
    return redirect(_with_query(wanted.redirect_uri, fields))


def _cancelled(wanted: Authorization) -> Answer:
    fields = {"error": "access_denied", "state": wanted.state}
    return redirect(_with_query(wanted.redirect_uri, fields))


def _with_query(uri: str, fields: dict[str, str]) -> str:
    parts = urlsplit(uri)
    query = urlencode([*parse_qsl(parts.query), *fields.items()])
    return urlunsplit(parts._replace(query=query))


def _authenticated_form(world: World, request: HttpRequest) -> dict[str, str]:
    """Reads the form and checks the client's secret (Basic, or in the body as Xero's libraries do).

    Raises:
        GrantRefused: Not a form, or not our app.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise GrantRefused("invalid_request")
    form = request.form()
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded).decode().partition(":")
        except ValueError as error:
            raise GrantRefused("invalid_client") from error
        client_id, secret = unquote(client_id), unquote(secret)
    known = world.settings
    if client_id != known.client_id or not hmac.compare_digest(
        secret.encode(), known.client_secret.encode()
    ):
        raise GrantRefused("invalid_client")
    return form


def _issue(world: World, form: dict[str, str]) -> Issue:
    now = world.clock.now()
    grant = form.get("grant_type", "")
    if grant == "authorization_code":
        if not form.get("code") or not form.get("redirect_uri"):
            raise GrantRefused("invalid_request")
        return world.grants.exchange(
            form["code"], form["redirect_uri"], form.get("code_verifier", ""), now
        )
    if grant == "refresh_token":
        lost = world.switches.grace_revokes_lost_pair
        return world.grants.rotate(form.get("refresh_token", ""), now, revoke_lost=lost)
    raise GrantRefused(
        "unauthorized_client" if grant == "client_credentials" else "unsupported_grant_type"
    )


def _token_body(world: World, issue: Issue, issued_by: str) -> Json:
    user, now = world.users[issue.user_id], world.clock.now()
    client_id = world.settings.client_id
    access = signing.access_token(issue, user, issued_by, client_id, now, world.ids.guid())
    world.grants.register_access(access, issue, now)
    body: Json = {}
    if "openid" in issue.scopes:
        body["id_token"] = signing.id_token(issue, user, issued_by, client_id, now, access)
    body |= {"access_token": access, "expires_in": 1800, "token_type": "Bearer"}
    if issue.refresh_token:
        body["refresh_token"] = issue.refresh_token
    return body | {"scope": " ".join(sorted(issue.scopes))}


def _ticks(moment: datetime) -> str:
    """Seven digits of a second and no zone."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0"
