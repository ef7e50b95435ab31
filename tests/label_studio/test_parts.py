"""Long texts go out in several requests."""

from __future__ import annotations

import orjson
import pytest

from curation.platforms.label_studio.project import in_parts


@pytest.mark.parametrize("lengths", [[], [1], [50, 50, 50, 50], [500, 1, 1, 500], [1] * 300])
def test_parts_are_in_order_whole_and_small(lengths: list[int]) -> None:
    tasks = [{"data": {"text": "x" * length, "n": n}} for n, length in enumerate(lengths)]
    parts = list(in_parts(tasks, 200))
    assert [task for part in parts for task in part] == tasks
    assert all(parts)
    for part in parts:
        assert len(part) == 1 or sum(len(orjson.dumps(task)) for task in part) <= 200
    assert len(parts) < max(2, len(tasks))
