"""The service does what its OpenAPI says, whatever it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from sqlalchemy import Engine, select

from curation.ledger import add_samples, find_sample
from curation.ledger.tables import datasets
from curation.ledger.targets import add_target
from curation.ledger.tokens import SCOPES, create_token
from curation.service import access
from curation.service.app import create_app
from curation.settings import Settings
from tests.ledger.builders import quarantine_sample, sample, scored_dataset

MAX_EXAMPLES = 40
MODES = list(schemathesis.GenerationMode)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    unsupported_method,
    ignored_auth,
]


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    """Any text, and lists as the lines they stand for."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return "\n".join(json.dumps(line) for line in (value if isinstance(value, list) else [value])).encode()


def known_places(engine: Engine) -> list[dict[str, str]]:
    """Path parameters that lead somewhere: a dataset with samples in every state, and one of them."""
    here, scorer_id, _ = scored_dataset(engine, [0.5 * i for i in range(20)])
    add_samples(engine, "dataset of its own", [sample("unscored"), sample("held")])
    with engine.connect() as conn:
        held = find_sample(conn, sample("held").id)
        name = conn.execute(select(datasets.c.name).where(datasets.c.id == here)).scalar_one()
    quarantine_sample(engine, scorer_id, held.pk, "no chat template")
    add_target(engine, "hooked", "label-studio", here, "http://127.0.0.1:1", "1", {})
    return [
        {"name": name, "id": held.sample.id, "target": "hooked"},
        {"name": "dataset of its own", "id": sample("unscored").id[:9], "target": "not there"},
    ]


@pytest.mark.slow
def test_nothing_that_is_sent_finds_an_answer_that_is_not_described(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "FAILURES", "1000000/hour")
    places = known_places(ledger)
    app = create_app(ledger, Settings(serve_rate="1000000/hour", serve_secret="a key for tests"))
    headers = {"Authorization": f"Bearer {create_token(ledger, 'schemathesis', SCOPES)}"}
    seen: dict[str, set[int]] = {}
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        names = {parameter.name for parameter in operation.path_parameters}
        cases = [operation.as_strategy(mode) for mode in MODES]
        for place in places if names else []:
            # From here on parameters are right, so that bodies and states matter.
            right: Any = {"path_parameters": {name: place[name] for name in names}, "query": {}}
            cases += [
                operation.as_strategy(mode, **right) for mode in (MODES if operation.body else MODES[:1])
            ]
        seen[operation.label] = answers_to(st.one_of(cases), headers)
    assert seen.pop("POST /v1/hooks/{target}") == {401, 422}  # nobody has given it a secret
    assert all(200 in statuses for statuses in seen.values()), seen
    assert {400, 401, 422} <= seen["POST /v1/datasets/{name}/samples"]
    assert {404, 422} <= seen["GET /v1/datasets/{name}/queue"]


def answers_to(cases: st.SearchStrategy[schemathesis.Case], headers: dict[str, str]) -> set[int]:
    """Statuses that these cases were answered with, every answer checked."""
    seen: set[int] = set()

    @given(cases)
    @hypothesis_settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        seen.add(case.call_and_validate(checks=CHECKS, headers=headers).status_code)

    ask()
    return seen
