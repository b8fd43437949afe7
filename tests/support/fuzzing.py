"""Requests made up from a service's own OpenAPI document, and what every answer to them must be."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
BY_CALLER = ("Authorization", "Cookie")
"""Headers that say who calls: of the caller's choosing, not of the fuzzer's."""


def fuzz(
    url: str,
    callers: Mapping[str, dict[str, str]],
    *,
    examples: int,
    known: Mapping[str, str],
    unchanged: Callable[[], Any],
) -> int:
    """Try every operation of the document at `url` as every caller; returns the number of requests.

    Each answer is no 500, is one that the document names, and looks as it says; one that refuses changed nothing.

    Args:
        url: Where the service listens.
        callers: Headers by the caller's name.
        examples: Requests per operation, caller and kind of data (as documented, and not so).
        known: Path parameters that exist; they take the made-up ones' place in half of the requests.
        unchanged: A fingerprint of everything that a refused request must not change.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        for name, headers in callers.items():
            for mode in GenerationMode:
                tried += _fuzz_one(operation, mode, name, headers, examples, known, unchanged)
    return tried


def _fuzz_one(operation, mode, name, headers, examples, known, unchanged) -> int:
    tried = 0

    @seed(20261122)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def run(case, real):
        nonlocal tried
        tried += 1
        if real:
            for parameter in case.path_parameters or {}:
                if parameter in known:
                    case.path_parameters[parameter] = known[parameter]
        for header in BY_CALLER:
            (case.headers or {}).pop(header, None)
        before = unchanged()
        answer = case.call(headers=headers, allow_redirects=False, timeout=30)
        what = f"{name} (data {mode.value}): {case.as_curl_command(headers=headers)}"
        assert answer.status_code != 500, what
        case.validate_response(answer, checks=CHECKS)
        refused = answer.status_code >= 400 or "/problem/" in str(answer.headers.get("location"))
        assert not refused or unchanged() == before, f"refused, yet changed something: {what}"

    # Nothing can be wrong with an operation that takes nothing.
    with suppress(Unsatisfiable):
        run()
    return tried
