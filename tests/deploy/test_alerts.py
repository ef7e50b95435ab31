"""The alert rules for Prometheus: they speak of metrics that there are, and fire when they should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from curation.service.fleet import Fleet
from curation.service.metrics import Requests
from tests.deploy.conftest import ROOT

RULES = ROOT / "deploy" / "alerts.yml"


def test_the_rules_speak_of_metrics_that_there_are() -> None:
    requests = Requests()
    requests.observe("GET", "/", 200, 0.1)
    exposed = requests.exposition(Fleet([], [], [])).decode()
    families = [*text_string_to_metric_families(exposed)]
    known = {family.name for family in families} | {s.name for family in families for s in family.samples}
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    used = {name for rule in rules for name in re.findall(r"\bcuration_\w+", rule["expr"])}
    assert len(used) >= 7
    assert used <= known
    assert all({"summary", "description"} == set(rule["annotations"]) for rule in rules)


def test_the_rules_fire_when_they_should_and_no_sooner(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not there: it comes with Prometheus")
    for file in (RULES, Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(file, tmp_path)
    told = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
