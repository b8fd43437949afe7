"""What the gate asks of the server beneath it."""

from payment_ingest.handlers.webhooks import PATH, Bounds, WebhookGate


async def test_of_a_body_that_is_too_large_nothing_is_awaited_that_never_comes():
    parts = [b"12", b"345"]
    answers = []

    async def receive():
        part = parts.pop(0)  # fails when asked for more than there is
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        answers.append(message)

    gate = WebhookGate(None, [b"key"], None, Bounds(body_bytes=4))
    await gate({"type": "http", "path": PATH, "method": "POST", "headers": []}, receive, send)
    assert [answers[0]["status"], answers[-1]["type"]] == [413, "http.response.body"]
