import pytest

from pipeline_local_stack.browser import Browser, forms_of

PAGE = """
<form method="post" action="/connect"><input type="hidden" name="csrf" value="a&amp;b">
<input type="checkbox" name="org" value="1" checked><input type="checkbox" name="org2" value="2">
<button name="go" value="yes">Connect
 to Xero</button></form>
<form action="/search"><button>Find</button></form>
"""


def test_a_form_has_the_values_that_a_browser_would_send():
    connect, search = forms_of(PAGE)
    assert (connect.method, connect.action) == ("POST", "/connect")
    assert connect.fields == [("csrf", "a&b"), ("org", "1")]
    assert connect.buttons == [("go", "yes", "Connect to Xero")]
    assert (search.method, search.buttons) == ("GET", [("", "", "Find")])


def test_pressing_without_a_page_says_so():
    with pytest.raises(LookupError, match="no page is open"):
        Browser().press("Connect")
