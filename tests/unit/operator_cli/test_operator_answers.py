"""What a command asks a service for, and what it says of the answer."""

import httpx

DELIVERY = {
    "delivery_id": "a" * 64, "received_at": "2026-03-01T09:00:00Z", "processed_at": None, "outcome": None,
    "events": 1, "not_understood": 0, "first_sequence": 1, "last_sequence": 1,
}  # fmt: skip


def test_a_customer_whom_pipeline_has_not_told_of_is_compared_by_the_name_given(run):
    asked = []

    def answer(request):
        asked.append((request.url.path, dict(request.url.params)))
        return httpx.Response(
            200, json={"customer_id": "c-1", "customer_name": "Acme & Co", "suggestions": []}
        )

    ran = run(answer, "mappings", "suggest", "c-1", "--name", "Acme & Co", "-a", "acc-1")
    path = "/v1/accounts/acc-1/contact-mappings/c-1/suggestions"
    assert (ran.status, asked) == (0, [(path, {"name": "Acme & Co"})])
    assert ran.out.split("\n")[:2] == ["c-1: Acme & Co", "None."]


def test_that_no_known_customer_waits_is_said_and_no_more_than_that(run):
    def answer(_):
        return httpx.Response(200, json={"customers": []})

    ran = run(answer, "mappings", "suggest", "-a", "acc-1")
    assert ran.status == 0
    assert ran.out.startswith("No customer whom Pipeline has told of waits for a contact.")
    assert "--name" in ran.out


def test_reading_deliveries_again_says_that_it_was_asked_for(run):
    def some(_):
        return httpx.Response(202, json={"deliveries": [DELIVERY], "more": False})

    def none(_):
        return httpx.Response(202, json={"deliveries": [], "more": False})

    again = ("deliveries", "replay", "--since", "1h", "--yes")
    assert run(some, *again).out.rstrip().endswith("what these announced is read again at once.")
    assert run(none, *again).out == "None.\n"
