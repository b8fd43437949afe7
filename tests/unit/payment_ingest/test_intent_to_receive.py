"""What each answer to a trial of Xero's intent-to-receive check means."""

import json

import pytest

from payment_ingest.domain.delivery import Outcome, read
from payment_ingest.domain.intent_to_receive import (
    Answer,
    NoAnswer,
    cause,
    complaint,
    delivery_url,
    objections,
    probes,
)
from payment_ingest.domain.signature import genuine

KEYS = (b"the-newer-key", b"the-older-key")
ALL = probes(KEYS, "e", b"strange")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://pay.example.com", "https://pay.example.com/webhooks/xero"),
        (" https://pay.example.com/ ", "https://pay.example.com/webhooks/xero"),
        ("https://pay.example.com/webhooks/xero", "https://pay.example.com/webhooks/xero"),
        ("https://example.com/pay/webhooks/xero/", "https://example.com/pay/webhooks/xero"),
        ("http://127.0.0.1:80/in", "http://127.0.0.1:80/in/webhooks/xero"),
    ],
)
def test_the_delivery_url(address, url):
    assert delivery_url(address) == url


@pytest.mark.parametrize(
    "address",
    [
        *(
            "",
            "pay.example.com",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x?a",
            "https://x:y",
        ),
        *(
            "https://x:99999",
            "http://[",
            "https://[::1",
            "https://a b.example",
            "https://a.example/\x07",
        ),
        *(
            "https://a..example",
            f"https://{'a' * 64}.example",
            "https://a<b>.example",
            "https://%zz",
        ),
    ],
)
def test_what_nobody_could_deliver_to(address):
    with pytest.raises(ValueError, match="address"):
        delivery_url(address)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://pay.example.com/webhooks/xero", []),
        ("https://pay.example.com:443/webhooks/xero", []),
        ("http://127.0.0.1:8003/webhooks/xero", []),
        ("http://pay.example.com/webhooks/xero", ["HTTPS"]),
        ("https://pay.example.com:8443/webhooks/xero", ["443"]),
    ],
)
def test_what_xero_would_not_even_try(url, said):
    assert [word for word in ("HTTPS", "443") if word in " ".join(objections(url))] == said


def test_the_probes_are_what_they_say_they_are():
    for probe in ALL:
        assert genuine(KEYS, probe.body, probe.signature or b"") == probe.key
        assert probe.wanted == (401 if probe.key is None else 200)
        assert not any(key.decode() in repr(probe) for key in KEYS)
    right = [probe for probe in ALL if probe.key is not None]
    assert {read(probe.body).outcome for probe in right} == {Outcome.INTENT}
    assert len({probe.body for probe in right}) == len(right) == 4
    # What reads the JSON and writes it again shows in the second body of each key, and in no first one.
    rewritten = [
        json.dumps(json.loads(probe.body), separators=(",", ":")).encode() for probe in right
    ]
    assert [new == probe.body for new, probe in zip(rewritten, right, strict=True)] == [
        True,
        False,
    ] * 2


RIGHT, WRONG = ALL[0], ALL[-1]


@pytest.mark.parametrize(
    ("probe", "reply", "words"),
    [
        (RIGHT, Answer(200), None),
        (WRONG, Answer(401), None),
        (RIGHT, Answer(200, has_body=True), "not empty"),
        (WRONG, Answer(401, has_body=True), "not empty"),
        (RIGHT, Answer(200, sets_cookie=True), "cookie"),
        (RIGHT, Answer(301, location="https://x/y"), "redirects to https://x/y"),
        (RIGHT, Answer(401), "refused"),
        (WRONG, Answer(200), "ACCEPTED"),
        (RIGHT, Answer(404), "does not lead to payment-ingest"),
        (WRONG, Answer(405), "does not lead to payment-ingest"),
        (RIGHT, Answer(503), "database"),
        (WRONG, Answer(503), "cannot reach it"),
        (RIGHT, Answer(502), "cannot reach it"),
        (RIGHT, Answer(403), "something else"),
        (RIGHT, Answer(204), "something else"),
        (RIGHT, Answer(599), "cannot reach it"),
        (RIGHT, NoAnswer("could not be reached"), "The endpoint could not be reached."),
    ],
)
def test_each_answer_in_words(probe, reply, words):
    said = complaint(probe, reply)
    assert said is None if words is None else words in said


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ((200, 200, 200, 200), None),
        ((200, 200, 401, 401), "key 2: restart"),
        ((401, 401, 200, 200), "key 1: restart"),
        ((401, 401, 401, 401), "Not one key is right"),
        ((200, 401, 200, 401), "rewrites the body"),
        ((200, 401, 401, 401), "rewrites the body"),
        ((520, 520, 520, 520), None),
        ((200, 200), None),
        ((), None),
    ],
)
def test_what_refused_signatures_mean_together(statuses, words):
    said = cause(list(zip(ALL, map(Answer, statuses), strict=False)))
    assert said is None if words is None else words in said
    assert cause([(RIGHT, NoAnswer("did not answer"))]) is None
