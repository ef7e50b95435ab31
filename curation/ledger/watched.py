"""Files of watched folders, as they were when they were last read to the end."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.ledger import bulk
from curation.ledger.engine import writing
from curation.ledger.tables import watched


def states_read(conn: Connection, dataset_id: int) -> dict[str, str]:
    """By file, the state it was in when it was read into the dataset."""
    query = select(watched.c.file, watched.c.state).where(watched.c.dataset_id == dataset_id)
    return {row.file: row.state for row in conn.execute(query)}


def note_read(engine: Engine, dataset_id: int, file: str, state: str) -> None:
    """A file was read to the end in this state: it need not be read again until it has another."""
    again = {"state": state, "read_at": sa.func.current_timestamp()}
    with writing(engine) as conn:
        new = bulk.insert(conn, watched).values(dataset_id=dataset_id, file=file, state=state)
        conn.execute(new.on_conflict_do_update(index_elements=["dataset_id", "file"], set_=again))
