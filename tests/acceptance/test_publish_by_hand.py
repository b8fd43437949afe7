"""What `make up` tells a person to try next."""

import subprocess
import sys

from acceptance_support import CUSTOMER


def publish(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline_local_stack.publish", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_invoice_published_by_hand_arrives_in_xero(stack, xero):
    ran = publish("--number", "HAND-1", "--customer", "Ridgeway Bank", "--amount", "115.00")
    assert ran.returncode == 0, ran.stderr
    assert "State: synced" in ran.stdout
    assert "In Xero as HAND-1: https://go.xero.com/" in ran.stdout
    (invoice,) = [i for i in xero.invoices() if i.number == "HAND-1"]
    assert str(invoice.total) == "115.00"


def test_a_number_published_twice_is_refused_in_words(stack, xero):
    first = publish("--number", "HAND-4", "--customer", "Ridgeway Bank", "--amount", "10.00")
    assert first.returncode == 0, first.stderr
    again = publish("--number", "HAND-4", "--customer", "Ridgeway Bank", "--amount", "99.00")
    assert again.returncode == 1
    assert "inv-HAND-4 was published before and is synced; choose another --number" in again.stderr
    (invoice,) = [i for i in xero.invoices() if i.number == "HAND-4"]
    assert str(invoice.total) == "10.00"


def test_one_whose_customer_is_unknown_waits_and_says_so(stack):
    ran = publish(
        "--number", "HAND-2", "--customer", f"not {CUSTOMER}", "--amount", "1.00", "--unmapped"
    )
    assert "State: waiting_for_contact" in ran.stdout
    assert "not linked to a contact in Xero" in ran.stdout


def test_rubbish_is_refused_in_words():
    ran = publish("--number", "HAND-3", "--customer", "X", "--amount", "much")
    assert ran.returncode == 1
    assert ran.stderr == (
        "Not published: --amount is 'much'; give a plain number such as 115.00.\n"
    )
    assert "Traceback" not in ran.stderr
