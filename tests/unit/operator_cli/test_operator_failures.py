"""Every way a command fails: its status, one sentence with the next step, and never a trace or the token."""

import json

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError

from pipeline_operator import session
from pipeline_operator.commands import dead_letters

TOKEN = "eyJ.secret-of-the-operator.sig"
PROBLEM = {"title": "No", "detail": "It is so.", "hint": "Do this."}


def answers(status, body=None, **headers):
    def answer(request: httpx.Request) -> httpx.Response:
        content = b"<html>" if body is None else json.dumps(body).encode()
        return httpx.Response(status, content=content, headers=headers)

    return answer


def raises(error):
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    return answer


TABLE = {
    "away": (
        raises(httpx.ConnectError("no")),
        4,
        "invoice-sync at http://invoice-sync.test cannot",
    ),
    "slow": (raises(httpx.ReadTimeout("no")), 4, "did not answer in time"),
    "cut": (raises(httpx.RemoteProtocolError("no")), 4, "broke off (RemoteProtocolError)"),
    "401": (answers(401, PROBLEM), 5, "the credentials were refused"),
    "403": (answers(403, PROBLEM), 5, "It is so."),
    "404": (answers(404, PROBLEM), 3, "It is so."),
    "409": (answers(409, PROBLEM), 6, "It is so."),
    "422": (answers(422, PROBLEM), 6, "It is so."),
    "429 too long": (answers(429, PROBLEM, **{"retry-after": "3600"}), 7, "not before 3600 s"),
    "429 for ever": (answers(429, PROBLEM, **{"retry-after": "1"}), 7, "It is so."),
    "429 rubbish": (answers(429, PROBLEM, **{"retry-after": "soon"}), 7, "It is so."),
    "500": (answers(500, PROBLEM, **{"x-request-id": "r-1"}), 4, "(request r-1)"),
    "502 no JSON": (answers(502), 4, "it answered 502"),
    "503": (answers(503, PROBLEM), 4, "It is so."),
    "moved": (answers(307, PROBLEM, location="http://elsewhere"), 4, "It is so."),
    "no JSON": (answers(200), 4, "is not invoice-sync: its answer is no JSON"),
    "other JSON": (answers(200, {"surprise": 1}), 4, "met something it does not expect (KeyError)"),
}


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_a_failure_is_a_status_a_sentence_and_the_next_step(run, case, as_json):
    answer, status, sentence = TABLE[case]
    more = ("--json",) if as_json and case != "other JSON" else ()
    ran = run(answer, "failures", "list", "--account", "acc-1", *more)
    assert ran.status == status
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert TOKEN not in ran.err
    if more:
        told = json.loads(ran.err.splitlines()[-1])["error"]
        assert told["status"] == status
        assert sentence in told["message"]
        assert told["hint"]
    else:
        assert sentence in ran.err
        assert len(ran.err.strip().splitlines()) >= 2  # the sentence, and the next step


def test_a_limit_is_waited_for_as_long_as_the_service_asks(run):
    left = [
        httpx.Response(429, json=PROBLEM, headers={"retry-after": "7"}),
        httpx.Response(503, json=PROBLEM, headers={"retry-after": "3"}),
        httpx.Response(202, json={"released": 4}),
    ]
    slept = []
    ran = run(lambda _: left.pop(0), "failures", "retry", "inv-1", "-a", "acc-1", slept=slept)
    assert (ran.status, slept) == (0, [7.0, 3.0])
    assert "4 taken up again" in ran.out
    assert "invoice-sync asks to wait 7 s." in ran.err


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError])
def test_what_may_have_been_done_is_said_and_not_asked_again(run, error):
    asked = []

    def answer(request):
        asked.append(request.method)
        raise error("no")

    ran = run(answer, "failures", "retry", "inv-1", "-a", "acc-1")
    assert (ran.status, asked) == (4, ["POST"])
    assert "It may have been done all the same" in ran.err


def test_ids_are_one_part_of_the_address_whatever_they_hold(run):
    asked = []

    def answer(request):
        asked.append(request.url.raw_path)
        return httpx.Response(404, json=PROBLEM)

    run(answer, "explain", "inv/../x?y#z ü", "-a", "a/b")
    assert asked == [b"/v1/accounts/a%2Fb/invoices/inv%2F..%2Fx%3Fy%23z%20%C3%BC/sync"]


def test_nobody_is_asked_where_nobody_sits(run):
    asked = []
    ran = run(asked.append, "failures", "retry", "--code", "X", "-a", "acc-1")
    assert (ran.status, asked) == (2, [])
    assert "Add --yes" in ran.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("failures", "retry", "-a", "x"), "Name an invoice or a cause."),
        (("failures", "retry", "inv", "--code", "X", "-a", "x"), "Name an invoice or a cause."),
        (("failures", "list"), "Which account is not said."),
        (("deliveries", "replay"), "Name a delivery or a time."),
        (("deliveries", "replay", "zz"), "'zz' is no delivery."),
        (("deliveries", "list", "--since", "yesterday"), "'yesterday' is no time."),
        (("deliveries", "list", "--since", "2026-03-01T09:30:00"), "is no time."),
        (("dead-letters", "show", "nonsense"), "'nonsense' names no dead letter"),
        (("dead-letters", "list", "--topic", "nonsense"), "There is no topic of events 'nonsense'."),
        (("dead-letters", "replay"), "Which dead letters are meant is not said."),
        (("dead-letters", "list"), "How to reach Kafka is not clear: KAFKA_BOOTSTRAP_SERVERS"),
        (("preview", "i", "-a", "x", "--file", "/no"), "/no cannot be read as JSON"),
        (("frobnicate",), "No such command"),
        (("mappings", "list", "colour"), "Invalid value"),
        (("mappings", "suggest", "--name", "Acme", "-a", "x"), "Whose name that is, is not said."),
    ],
)  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_asked(run, arguments, sentence):
    asked = []
    ran = run(asked.append, *arguments)
    assert (ran.status, asked) == (2, [])
    assert sentence in ran.err


def test_kafka_away_is_a_sentence(run, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")

    async def away(*_):
        raise KafkaConnectionError("Unable to bootstrap from [('127.0.0.1', 1)]")

    monkeypatch.setattr(dead_letters, "_newest", away)
    ran = run(lambda _: None, "dead-letters", "list")
    assert ran.status == 4
    assert "Kafka did not do it: KafkaConnectionError: Unable to bootstrap" in ran.err


def test_the_trace_is_there_for_who_asks(environment, monkeypatch):
    from pipeline_operator.__main__ import main

    monkeypatch.setenv("PIPELINE_XERO_DEBUG", "1")
    monkeypatch.setattr(session.Session, "account", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["failures", "list"])


def test_an_interrupt_is_its_own_status(run):
    def interrupted(_):
        raise KeyboardInterrupt

    assert run(interrupted, "failures", "list", "-a", "acc-1").status == 130
