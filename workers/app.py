"""The Celery application: how messages travel, how worker processes start, and how they end."""

from __future__ import annotations

from typing import Any, cast

from celery import Celery

from curation.errors import BrokerError
from curation.settings import Settings, get_settings

SLICE_SECONDS = 10.0
"""How long one task scores before it looks up: a worker told to stop does so within this time and one batch."""

TIME_LIMIT = 1800
"""Seconds after which a task counts as hung and its process is killed: loading a model and one slice."""

RING_SECONDS = 5.0
"""How often the scheduler and every idle worker look whether something waits."""


def make_app(settings: Settings | None = None) -> Celery:
    """The application for a broker. Raises BrokerError if the settings name none."""
    settings = settings or get_settings()
    if settings.broker_url is None:
        raise BrokerError(
            "no message broker is set",
            "Set CURATION_BROKER_URL, for example redis://127.0.0.1:6379/0; without one, use `curation score`.",
        )
    app = Celery("curation", broker=settings.broker_url.get_secret_value())
    app.conf.update(_CONFIG)
    steps = cast("dict[str, set[str]]", app.steps)
    steps["consumer"].add("workers.presence:Presence")
    return app


_CONFIG: dict[str, Any] = {
    "include": ["workers.tasks"],
    "task_default_queue": "curation",
    # Messages: JSON with a number in it, kept nowhere once read.
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    # A message is acknowledged before the work. The ledger knows what is left, so nothing hangs on its return.
    "task_acks_late": False,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
    # Far over any task, and short timeouts, so that a dead broker is noticed instead of waited for.
    "broker_transport_options": {
        "visibility_timeout": 4 * TIME_LIMIT,
        "socket_connect_timeout": 3,
        "socket_timeout": 10,
    },
    "broker_connection_timeout": 3,
    # One process that owns the device. Spawned, since CUDA does not survive a fork.
    "worker_pool": "prefork",
    "worker_pool_start_method": "spawn",
    "worker_concurrency": 1,
    # A new interpreter on a busy machine is not up within the 4 s that are the default: it would be killed for ever.
    "worker_proc_alive_timeout": 120.0,
    "task_time_limit": TIME_LIMIT,
    "worker_soft_shutdown_timeout": 3 * SLICE_SECONDS,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_send_task_events": False,
    "beat_scheduler": "workers.beat:BellScheduler",
    "beat_max_loop_interval": RING_SECONDS,
}
