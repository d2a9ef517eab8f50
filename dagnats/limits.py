"""Every bound in one table; units are the last word of a name. Nothing in DagNats is without a limit."""

from __future__ import annotations

from typing import Final

# -- names ---------------------------------------------------------------------------------------
NAME_LENGTH_MAX: Final = 128
STEPS_MAX: Final = 10_000
METADATA_ENTRIES_MAX: Final = 64
TEMPLATE_DEPTH_MAX: Final = 64

# -- payloads ------------------------------------------------------------------------------------
OFFLOAD_SIZE_BYTES: Final = 256 * 1024
PAYLOAD_SIZE_MAX_BYTES: Final = 64 * 1024 * 1024
MESSAGE_SIZE_MAX_BYTES: Final = 1024 * 1024 - 16 * 1024  # the server's default limit, less headers
ERROR_SIZE_MAX_BYTES: Final = 8 * 1024
CHUNK_SIZE_MAX_BYTES: Final = 64 * 1024
MESSAGE_SIZE_MIN_BYTES: Final = 512 * 1024  # a server that allows less cannot hold DagNats

# -- retries and time ----------------------------------------------------------------------------
RETRIES_MAX: Final = 100_000
RETRY_DELAY_MIN_MS: Final = 1
RETRY_DELAY_MAX_MS: Final = 3_600_000
RETRY_AFTER_MIN_MS: Final = 100
RETRY_AFTER_MAX_MS: Final = 3_600_000
STEP_TIMEOUT_MAX_MS: Final = 24 * 3_600_000
DURATION_MAX_MS: Final = 365 * 24 * 3_600_000
ITERATIONS_MAX: Final = 1_000_000
DELIVERIES_MAX: Final = 25  # deliveries of one ticket without an outcome: its worker keeps dying

# -- scheduler -----------------------------------------------------------------------------------
PARTITIONS_DEFAULT: Final = 16
PARTITIONS_MAX: Final = 256
REPLICAS_MAX: Final = 5
LEASE_TTL_MS: Final = 1_800
LEASE_RENEW_MS: Final = 400
LEASE_MARGIN_MS: Final = 300
FACTS_BATCH_MAX: Final = 500
FACTS_UNACKED_MAX: Final = 20_000
APPENDS_IN_FLIGHT_MAX: Final = 4_000
RUNS_IN_MEMORY_MAX: Final = 20_000
RUN_IDLE_MS: Final = 30_000
CLOSED_REMEMBERED_MAX: Final = 5_000
SNAPSHOT_EVERY_FACTS: Final = 200

# -- worker --------------------------------------------------------------------------------------
CONCURRENCY_DEFAULT: Final = 50
CONCURRENCY_MAX: Final = 10_000
PROCESSES_MAX: Final = 256
WORKER_LEASE_MS: Final = 15_000
WORKER_LEASE_MIN_MS: Final = 1_000
DRAIN_TIMEOUT_MS: Final = 30_000
PULL_EXPIRES_MS: Final = 1_000
WORKER_BEAT_MS: Final = 5_000
STARTED_NOTICE_MS: Final = 100  # a ticket that runs so long is announced to watchers
WORKER_EXPIRES_MS: Final = 15_000
LOOP_BLOCKED_MS: Final = 1_000
CANCEL_GRACE_MS: Final = 2_000
HANDOVER_MS: Final = 1_000  # how long a worker waits for another to agree to take a ticket
STICKY_PAUSE_MS: Final = (
    500  # how often a soft sticky ticket is offered again to a worker that is busy
)
STICKY_SOFT_TRIES: Final = 10  # so often; then anybody runs it: five seconds
STICKY_HARD_PAUSE_MS: Final = 1_000  # and a hard one; each time so much later
STICKY_HARD_PAUSE_MAX_MS: Final = 5_000

# -- client --------------------------------------------------------------------------------------
PUBLISH_TIMEOUT_MS: Final = 10_000
REQUEST_TIMEOUT_MS: Final = 5_000
HISTORY_BATCH_MAX: Final = 500
LIST_DEFAULT: Final = 50
LIST_MAX: Final = 10_000
LIST_COUNTED_MAX: Final = 10_000  # runs looked at only to say how many match

# -- storage -------------------------------------------------------------------------------------
DUPLICATE_WINDOW_MS: Final = 120_000
CONSUMERS_MAX: Final = 10_000
STREAM_TOKENS_AGE_MS: Final = 24 * 3_600_000
EVENTS_AGE_MS: Final = 14 * 24 * 3_600_000
DEAD_AGE_MS: Final = 30 * 24 * 3_600_000
RETENTION_MS: Final = 30 * 24 * 3_600_000
STORE_SIZE_MIN_BYTES: Final = 64 * 1024 * 1024
