"""Schemathesis against the server's own OpenAPI document: no 5xx, answers as it says."""

import os
import warnings

import httpx
from hypothesis import HealthCheck, Phase, settings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it is built on
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

from accord.serve.openapi import document

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)
EXAMPLES = int(os.environ.get("ACCORD_HTTP_EXAMPLES", "15"))  # the battery takes more
schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_what_the_document_allows_and_what_it_does_not(case, server):
    if (
        isinstance(case.body, dict)
        and "model" in case.body
        and case.meta.generation.mode.is_positive
    ):
        # a name that exists, so that answers are fuzzed and not the name alone
        case.body["model"] = "sft"
        case.body["max_tokens"] = min(case.body.get("max_tokens") or 4, 4)
    case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=30)


def test_the_server_lives(server):
    assert httpx.get(server.url + "/health").status_code == 200
