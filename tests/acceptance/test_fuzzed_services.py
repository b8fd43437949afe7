"""The services beside the connector, running, tried with whatever their own OpenAPI documents allow and forbid."""

import pytest
from fuzzing import fuzz

KNOWN = {"account_id": "demo", "customer_id": "cust-acceptance", "code": "CUSTOMER_NOT_MAPPED"}


@pytest.mark.parametrize("service", ["invoice-sync", "payment-ingest"])
def test_no_500_and_no_undocumented_answer(stack, service):
    identities = stack.identities

    def person(role: str) -> dict[str, str]:
        token = identities.person_token("demo", role, name="F. Uzzer", user_id=f"user-{role}")
        return {"Authorization": f"Bearer {token}"}

    token = identities.service_token("pipeline-backend", service)
    tried = fuzz(
        stack.urls[service],
        {
            "nobody": {},
            "rubbish": {"Authorization": "Bearer x.y.z"},
            "viewer": person("viewer"),
            "operator": person("operator"),
            "admin": person("admin"),
            "pipeline-backend": {"Authorization": f"Bearer {token}"},
        },
        examples=3,
        known=KNOWN,
        # A running service works on by itself, so its database tells nothing here; test_nobody_gets_in.py and the
        # services' own tests look at single refusals.
        unchanged=lambda: None,
    )
    assert tried > 100
