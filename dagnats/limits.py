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
SIGNAL_SIZE_MAX_BYTES: Final = 1024 * 1024
EVENT_SIZE_MAX_BYTES: Final = 512 * 1024
CHECKPOINT_INLINE_BYTES: Final = (
    32 * 1024
)  # a larger one is stored once, and dropped when superseded
PAYLOAD_SIZE_MAX_BYTES: Final = 64 * 1024 * 1024
MESSAGE_SIZE_MAX_BYTES: Final = 1024 * 1024 - 16 * 1024  # the server's default limit, less headers
ERROR_SIZE_MAX_BYTES: Final = 8 * 1024
MESSAGE_SIZE_MIN_BYTES: Final = 512 * 1024  # a server that allows less cannot hold DagNats

# -- token streams -------------------------------------------------------------------------------
CHUNK_SIZE_MAX_BYTES: Final = 64 * 1024
STREAM_BATCH_MAX: Final = 1_000  # chunks of one message; offsets are counted with it
STREAM_BATCH_SIZE_BYTES: Final = 256 * 1024  # when so much waits to be sent, `emit` waits too
STREAM_UNSENT_MAX: Final = 10_000  # chunks emitted without `await`
STREAM_UNSENT_SIZE_MAX_BYTES: Final = 16 * 1024 * 1024
STREAM_CHUNKS_PER_RUN_MAX: Final = 1_000_000
STREAM_SIZE_PER_RUN_MAX_BYTES: Final = 256 * 1024 * 1024

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
SIGNAL_WAIT_DEFAULT_MS: Final = 3_600_000
PAUSE_MAX_MS: Final = 3_600_000
APPROVAL_MAX_MS: Final = 168 * 3_600_000
EVENT_LOOKBACK_MS: Final = 60_000  # an event this much older than its wait still counts

# -- growing runs --------------------------------------------------------------------------------
MAP_ITEMS_DEFAULT: Final = 1_000
MAP_ITEMS_MAX: Final = 10_000
PLAN_STEPS_MAX: Final = 100
PLAN_DEPTH_MAX: Final = 10
PLANNED_PER_RUN_MAX: Final = 500
CALLS_PER_ITERATION_MAX: Final = 1_000
GROWN_PER_RUN_MAX: Final = 50_000
SIGNALS_KEPT_MAX: Final = 1_000  # sent and not consumed; one more is not taken
QUORUM_MAX: Final = 20
CANCEL_ON_MAX: Final = 5
DEPTH_MAX: Final = 2  # levels below a root run
CHAIN_MAX: Final = 10_000  # runs that continue one another
HISTORY_LONG_FACTS: Final = 5_000  # a handler of a run this long is offered to continue as new

# -- control plane: for each tree of runs --------------------------------------------------------
RUNS_PER_TREE_MAX: Final = 100  # started by handlers, and under way
DEFINITIONS_PER_TREE_MAX: Final = 500
REGISTRATIONS_PER_MINUTE_MAX: Final = 60
DEFINITION_SIZE_MAX_BYTES: Final = 256 * 1024  # of one that a handler made
GENERATIONS_MAX: Final = 3  # levels below a root run, down to which handlers start runs
POLICY_NAMES_MAX: Final = 1_000
GRACE_MIN_MS: Final = 1_000  # before definitions of an ended tree are removed
REAPED_PER_PASS_MAX: Final = 200  # definitions that one look for those of ended trees removes

# -- triggers ------------------------------------------------------------------------------------
TRIGGERS_MAX: Final = 500
BACKFILL_MAX: Final = 100  # missed instants that are made up for
CRON_LATE_MS: Final = 60_000  # an instant that is seen so much later is on time all the same
EVERY_MIN_MS: Final = 1_000
FILTER_LENGTH_MAX: Final = 2_000
FIRES_QUEUED_MAX: Final = 100  # fires that wait for the run before them
FIRES_LISTED_MAX: Final = 500
FIRES_KEPT: Final = 1_000  # what became of the newest; those before leave the log
PREVIEW_MAX: Final = 100
DEBOUNCE_PERIOD_MAX_MS: Final = 7 * 24 * 3_600_000
DEBOUNCE_HOLD_MAX_MS: Final = 7 * 24 * 3_600_000  # nothing is held longer, whatever comes
BATCH_EVENTS_MAX: Final = 1_000
BATCH_TIMEOUT_MAX_MS: Final = 5 * 60_000
BATCH_SIZE_MAX_BYTES: Final = 10 * 1024 * 1024  # of one list; a batch that would be larger is split
HELD_KEYS_MAX: Final = 100_000  # that one trigger holds; beyond, the one due first is let go early
HELD_SIZE_MAX_BYTES: Final = 32 * 1024 * 1024  # of one trigger in memory; beyond, likewise
HELD_LET_GO_MAX: Final = 500  # runs that one timer starts; the rest follow with the next one
HELD_SHOWN_MAX: Final = 20
TYPE_LEASE_MS: Final = 4_000  # a worker that is silent so long has lost its trigger types
TYPE_LOOK_MS: Final = 500  # how often it looks for triggers of its types
DECLARED_MAX: Final = 500  # workflows, or triggers, in one file
DECLARED_SIZE_MAX_BYTES: Final = 1024 * 1024
BULK_MAX: Final = 1_000  # runs that one call starts, cancels or retries
BULK_AT_ONCE: Final = 50
SCHEDULED_MAX: Final = 100_000  # starts that wait for their time
SCHEDULED_NOW_MS: Final = 1_000  # a start that is so near is made at once
SCHEDULED_LISTED_MAX: Final = 10_000
TRIGGER_SAVED_FACTS: Final = 100
SUBJECT_LENGTH_MAX: Final = 256
SECRET_LENGTH_MIN: Final = 16
HOOK_BODY_MAX_BYTES: Final = 1024 * 1024
HTTP_TIMEOUT_MAX_MS: Final = 3_600_000
HOOKS_AGE_MS: Final = 14 * 24 * 3_600_000

# -- scheduler -----------------------------------------------------------------------------------
PARTITIONS_DEFAULT: Final = 16
PARTITIONS_MAX: Final = 256
REPLICAS_MAX: Final = 5
LEASE_TTL_MS: Final = 1_800
LEASE_RENEW_MS: Final = 400
LEASE_MARGIN_MS: Final = 300
FACTS_BATCH_MAX: Final = 500
FACTS_IN_A_ROW: Final = 50  # folded before others have their turn: some milliseconds
FACTS_UNACKED_MAX: Final = 20_000
APPENDS_IN_FLIGHT_MAX: Final = 4_000
RUNS_IN_MEMORY_MAX: Final = 20_000
RUN_IDLE_MS: Final = 30_000
CLOSED_REMEMBERED_MAX: Final = 5_000
ENQUIRIES_WAITING_MAX: Final = 1_000  # of workers at the desk of one scheduler
SNAPSHOT_EVERY_FACTS: Final = 200
RECONCILE_EVERY_MS: Final = 10_000  # how often a partition compares silent runs with the queue
RECONCILED_PER_LOOK_MAX: Final = 20  # so many of them

# -- gates ---------------------------------------------------------------------------------------
GATE_WAITING_MAX: Final = 100_000  # tickets that wait at one gate
RATE_LATE_MAX_MS: Final = (
    500  # so much of a late timer is made up for: the server's grain is 250 ms
)
GATE_CHECK_MS: Final = 120_000  # a ticket that was let through is asked after so often
GATE_SAVED_FACTS: Final = 1_000  # a gate is saved so often, or as often as it has tickets
LIMITS_MAX: Final = 4  # of one task or workflow
LIMIT_MAX: Final = 1_000_000
LIMIT_PERIOD_MAX_MS: Final = 24 * 3_600_000
GATE_KEY_LENGTH_MAX: Final = 256
STEPS_AT_ONCE_MAX: Final = 1_000
PRIORITY_RULES_MAX: Final = 20
PRIORITY_OFFSET_MAX_S: Final = 600

# -- budgets -------------------------------------------------------------------------------------
BUDGET_USD_MAX: Final = 1_000_000
BUDGET_TOKENS_MAX: Final = 10**12
BUDGET_ITERATIONS_MAX: Final = 10**9
BUDGET_PERIOD_MAX_MS: Final = 366 * 24 * 3_600_000  # of a budget that runs share
BUDGET_SOFT_DEFAULT: Final = 0.8  # from this part of a budget on, handlers are warned
BUDGET_GRACE_MS: Final = 30_000  # what handlers have left to finish when a budget is exceeded
USAGE_TOKENS_MAX: Final = 10**9  # of one report
USAGE_USD_MAX: Final = 100_000
USAGE_MODELS_MAX: Final = 50  # told apart in one run; the others are added up

# -- worker --------------------------------------------------------------------------------------
WAITING_PER_SLOT_MAX: Final = 4  # handlers that wait for a durable call, for each slot
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
HEARTBEAT_SIZE_MAX_BYTES: Final = 8 * 1024  # what a handler tells of its progress
LOOP_BLOCKED_MS: Final = 1_000
CANCEL_GRACE_MS: Final = 2_000
THREADS_LEFT_MANY: Final = 100  # threads that handlers have left behind: then they are named
ISOLATED_PROCESSES_MAX: Final = 8  # of a worker process, for handlers in processes of their own
ISOLATED_TICKETS_MAX: Final = 200  # then the process is replaced by a fresh one
ISOLATED_START_MS: Final = 60_000  # how long loading the module may take it
FRAME_SIZE_MAX_BYTES: Final = 4 * PAYLOAD_SIZE_MAX_BYTES  # between a worker and such a process
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
QUESTIONS_LISTED_MAX: Final = 500
LIST_COUNTED_MAX: Final = 10_000  # runs looked at only to say how many match
LETTERS_BATCH_MAX: Final = 50  # dead letters asked for at once
LETTERS_BATCH_MAX_BYTES: Final = 4 * 1024 * 1024
REPLAYS_DEFAULT: Final = 3  # how often a watch replays the same step
REPLAYS_MAX: Final = 1_000
REPLAY_INTERVAL_MIN_MS: Final = 100

# -- storage -------------------------------------------------------------------------------------
DUPLICATE_WINDOW_MS: Final = 120_000
CONSUMERS_MAX: Final = 10_000
STREAM_TOKENS_AGE_MS: Final = 24 * 3_600_000
EVENTS_AGE_MS: Final = 14 * 24 * 3_600_000
DEAD_AGE_MS: Final = 30 * 24 * 3_600_000
DEAD_DUPLICATE_WINDOW_MS: Final = 3_600_000  # a failure that is told again within it is one letter
DISCARDED_AGE_MS: Final = 3_600_000  # how long a discarded dead letter can be brought back
RETENTION_MS: Final = 30 * 24 * 3_600_000
ARCHIVE_AFTER_MIN_MS: Final = 1_000
RETENTION_MIN_MS: Final = 60_000
ARCHIVE_PLACES: Final = 65_536  # subjects that records of archived runs share
ARCHIVE_PART_BYTES: Final = (
    MESSAGE_SIZE_MIN_BYTES - 16 * 1024
)  # any server that holds DagNats takes it
ARCHIVED_AT_ONCE: Final = 20  # runs that a scheduler reads, and writes, together
ARCHIVED_PER_TURN_MAX: Final = 5_000  # runs of a partition that leave the log together
ARCHIVE_EVERY_MS: Final = 60_000  # how often a partition looks for runs that are due
ARCHIVE_PAUSE_MS: Final = 15_000  # a run is in both places so long: more than a publish takes
STORE_SIZE_MIN_BYTES: Final = 64 * 1024 * 1024
