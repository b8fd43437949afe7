"""Where a form comes from, as browsers say it: ours must be known for ours, also by browsers without Sec-Fetch-Site."""

import re

import pytest
from card_pages import card_pages


@pytest.mark.browser
async def test_a_form_of_ours_names_its_origin(make_stack, chromium):
    # Safari before 16.4, and every browser on plain http, sends no Sec-Fetch-Site; Origin is all there is then. Under
    # the policy `no-referrer` it would be `null`, as it is for a stranger's form (Fetch standard, "append a request
    # Origin header").
    async with card_pages(make_stack, chromium) as pages:
        page = await pages.person()
        await page.goto(pages.card)
        async with page.expect_request(f"{pages.card}/connect") as caught:
            await page.get_by_role("button", name="Connect to Xero").click()
        headers = await (await caught.value).all_headers()
        assert headers["origin"] == pages.url


async def test_its_address_is_told_to_no_other_site(stack):
    async with stack.browser("acc-1") as browser:
        for page in (browser.card, f"{browser.card}/problem/code-expired"):
            shown = await browser.pipeline.get(page)
            assert shown.headers["referrer-policy"] == "same-origin"


async def test_a_form_from_elsewhere_is_not_called_a_matter_of_roles(stack):
    async with stack.browser("acc-1") as browser:
        answer = await browser.pipeline.post(
            f"{browser.card}/connect", headers={"Origin": "null", "Accept": "text/html"}
        )
    assert answer.status_code == 403
    assert re.search(r'data-problem="([a-z-]+)"', answer.text)[1] == "form-expired"
    assert "administrator" not in answer.text
    assert 'href="/oauth/xero/continue"' in answer.text
    assert await stack.db.fetchval("SELECT count(*) FROM oauth_states") == 0
