"""The hottest functions are told from collapsed samples."""

from pipeline_local_stack.bench.profile import hottest

OURS = "handle (invoice_sync/app.py:{})"
SAMPLES = [
    f"<module> (app.py:1);{OURS.format(10)};decode (b.py:5) 30\n",
    f"<module> (app.py:1);{OURS.format(12)};decode (b.py:9);decode (b.py:9) 20\n",
    f"<module> (app.py:1);passes_on (asgi.py:2);{OURS.format(10)} 10\n",
    "<module> (app.py:1);other (c.py:1) 40\n",
]


def test_functions_are_told_by_their_share_whatever_line_they_were_at():
    handle, decode, other = hottest(SAMPLES)
    assert (handle.function, handle.own, handle.with_callees) == (
        "handle (invoice_sync/app.py)", 0.1, 0.6,
    )  # fmt: skip
    assert (decode.function, decode.own, decode.with_callees) == ("decode (b.py)", 0.5, 0.5)
    assert (other.function, other.own) == ("other (c.py)", 0.4)


def test_only_so_many_are_told():
    assert [each.function for each in hottest(SAMPLES, 1)] == ["handle (invoice_sync/app.py)"]
