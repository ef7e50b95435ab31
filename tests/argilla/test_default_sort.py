"""Our start module in a real server: annotators who come without a sort get the riskiest first."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.argilla import others
from tests.argilla.rig import ArgillaRig, question_of
from tests.argilla.server import OwnArgilla
from tests.platforms.rig import Ledger

pytestmark = pytest.mark.slow

MODULE = Path(__file__).parents[2] / "curation/platforms/argilla/default_sort.py"


def test_without_a_sort_the_riskiest_come_first(
    own_argilla: OwnArgilla, ledger: Engine, tmp_path: Path
) -> None:
    rig, book = ArgillaRig(own_argilla), Ledger(ledger)
    draw = random.Random(1)
    given = {f"q{i}": draw.uniform(-9, 9) for i in range(30)}
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    order = sorted(given, key=given.__getitem__, reverse=True)
    texts = [{"fields": {"text": f"t{i}"}} for i in range(30)]
    theirs = others.make(
        own_argilla,
        rig.workspace["id"],
        "theirs",
        {"text": others.TEXT},
        {"fit": others.labels("a", "b")},
        texts,
    )

    def without_sort(annotator: int) -> list[str]:
        return [question_of(record) for record in rig.queue(annotator, 30, sorts=False)]

    def of_theirs() -> list[str]:
        return [record["id"] for record in rig.queue(0, 30, sorts=False, dataset=theirs)]

    before = of_theirs()
    assert without_sort(0) != order  # Argilla's own order is random
    # alone in its folder: it runs in the server's environment, which has nothing of ours
    shutil.copy(MODULE, tmp_path)
    with own_argilla.serving("default_sort:app", PYTHONPATH=str(tmp_path)):
        assert without_sort(0) == order
        assert without_sort(1) == order
        rig.answer(rig.find(order[0]), "reject")
        assert without_sort(1) == order[1:]
        assert of_theirs() == before
        by_risk = {"scope": {"entity": "metadata", "metadata_property": "risk"}, "order": "asc"}
        found = rig.queue(1, 30, sorts=[by_risk])
        assert [question_of(record) for record in found] == order[:0:-1]
    assert without_sort(0) != order[1:]


def test_what_is_stored_may_be_anything(own_argilla: OwnArgilla, tmp_path: Path) -> None:
    rig = ArgillaRig(own_argilla)
    questions = {"fit": others.labels("a", "b")}
    kind = {"risk": {"type": "float"}}
    shutil.copy(MODULE, tmp_path)
    with own_argilla.serving("default_sort:app", PYTHONPATH=str(tmp_path)):
        for i, stored in enumerate([None, {}, {"sort": "risk"}, {"sort": [{"property": "gone", "order": "asc"}, 1]},
                                    {"sort": [{"property": "risk", "order": "up"}]}]):  # fmt: skip
            dataset = others.make(
                own_argilla, rig.workspace["id"], f"d{i}", {"text": others.TEXT}, questions,
                [{"fields": {"text": "t"}}], kind,
            )  # fmt: skip
            body = {"metadata": {"curation": stored}}
            own_argilla.owner.patch(f"/datasets/{dataset}", json=body).raise_for_status()
            assert len(rig.queue(0, 5, sorts=False, dataset=dataset)) == 1
