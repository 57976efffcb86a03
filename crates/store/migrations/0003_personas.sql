-- Personas: users who live in the product by description, when they act, what they did and what they thought of it.

-- A persona's description. Sign-in, name and spaces are those of its account, like any user's.
CREATE TABLE persona (
    user_id       UUID   NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    archetype     TEXT   NOT NULL,           -- behavioural profile, such as adhd-student
    system_prompt TEXT   NOT NULL,
    prompt_hash   TEXT   NOT NULL,           -- SHA-256 of the prompt: its version
    module_mix    JSONB  NOT NULL,           -- {"todo": 0.3, …}: relative weights
    cadence       TEXT   NOT NULL,           -- hourly, daily, weekdays
    timezone      TEXT,                      -- IANA; none means UTC
    locale        TEXT,                      -- BCP 47; none means the account's
    window_start  TEXT,                      -- HH:MM local time; both or none
    window_end    TEXT,
    behaviour     JSONB  NOT NULL,           -- {"toleratedErrors": 2, …}
    created       BIGINT NOT NULL,
    updated       BIGINT NOT NULL
);
CREATE INDEX persona_by_age ON persona (created, user_id);

-- When a persona acts next. `ready_at` alone decides: the due time, the end of a lease, the time of a retry, or the
-- largest number for never (paused, quarantined). `epoch` grows with every claim and is never reset.
CREATE TABLE run_state (
    bucket         BIGINT NOT NULL,          -- 0; the distribution key of large installations
    persona        UUID   NOT NULL REFERENCES persona (user_id) ON DELETE CASCADE,
    lane           BIGINT NOT NULL,          -- 0; one lane for each provider some day
    prio           BIGINT NOT NULL,          -- 0 asked for by hand, 1 never run, 2 ordinary
    ready_at       BIGINT NOT NULL,
    epoch          BIGINT NOT NULL,
    owner          TEXT,                     -- the process that holds the lease
    claimed_at     BIGINT,
    lease_until    BIGINT,
    tick           TEXT,                     -- the unfinished visit
    attempts       BIGINT NOT NULL,          -- claims since the last finished visit
    failures       BIGINT NOT NULL,          -- failed visits since the last good one
    state          TEXT   NOT NULL,          -- idle, running, paused, quarantined
    pause_reason   TEXT,
    last_active_at BIGINT,
    slot_at        BIGINT NOT NULL,          -- the due time by cadence, whatever retries and pauses make of it
    PRIMARY KEY (bucket, persona)
);
CREATE INDEX run_state_ready ON run_state (bucket, lane, prio, ready_at) WHERE ready_at < 9223372036854775807;

-- A visit.
CREATE TABLE persona_tick (
    id               TEXT    NOT NULL PRIMARY KEY,
    persona          UUID    NOT NULL REFERENCES persona (user_id) ON DELETE CASCADE,
    epoch            BIGINT  NOT NULL,       -- of the latest claim; 0 where no claim stands behind it
    owner            TEXT,
    attempt          BIGINT  NOT NULL,       -- how many claims it took
    started          BIGINT  NOT NULL,
    finished         BIGINT,
    outcome          TEXT,                   -- completed, truncated, refused, gave_up, …; none: reported without one
    engine           TEXT,
    model            TEXT,
    simulated        BOOLEAN NOT NULL,       -- by the rehearsal engine, not by a model
    goal             TEXT,
    summary          TEXT,
    token_usage      JSONB,
    prompt_hash      TEXT,
    tools_hash       TEXT,
    memory_hash      TEXT,
    actions_written  BIGINT  NOT NULL,       -- what the finish wrote, so that its repetition is answered the same
    feedback_written BIGINT  NOT NULL,
    next_due_at      BIGINT                  -- what the finish answered
);
CREATE INDEX persona_tick_of_persona ON persona_tick (persona, started, id);
CREATE INDEX persona_tick_by_start ON persona_tick (started, id);

-- What was said and done in a visit, before it was acted on: where the next claim goes on after a crash.
CREATE TABLE tick_journal (
    tick  TEXT   NOT NULL REFERENCES persona_tick (id) ON DELETE CASCADE,
    seq   BIGINT NOT NULL,
    entry TEXT   NOT NULL,                   -- JSON to the letter, which JSONB would not keep
    at    BIGINT NOT NULL,
    PRIMARY KEY (tick, seq)
);

-- The audit trail: one tool call of a visit.
CREATE TABLE persona_action (
    id            UUID    NOT NULL PRIMARY KEY,  -- UUIDv8: start of the visit, place in it, hash; new rows land at the end
    wire_id       TEXT    NOT NULL UNIQUE,       -- {tick}-{idx}-{tool}
    tick          TEXT    NOT NULL,
    persona       UUID    NOT NULL REFERENCES persona (user_id) ON DELETE CASCADE,
    idx           BIGINT  NOT NULL,
    tool          TEXT    NOT NULL,
    module        TEXT    NOT NULL,
    tool_use_id   TEXT,
    input_hash    TEXT,
    result        TEXT    NOT NULL,              -- ok, error
    code          TEXT,
    error_message TEXT,
    latency_ms    BIGINT,
    simulated     BOOLEAN NOT NULL,
    at            BIGINT  NOT NULL
);
CREATE INDEX persona_action_of_persona ON persona_action (persona, id);

-- One rating of one module in a visit. Module `__parse` marks an answer that could not be read; it has no rating.
CREATE TABLE persona_feedback (
    id         TEXT    NOT NULL PRIMARY KEY,     -- {tick}-{module}
    seq        UUID    NOT NULL UNIQUE,          -- time-ordered: the order of lists
    tick       TEXT    NOT NULL,
    persona    UUID    NOT NULL REFERENCES persona (user_id) ON DELETE CASCADE,
    module     TEXT    NOT NULL,
    rating     BIGINT,                           -- 1 to 5; none: no opinion, or not readable
    notes      TEXT,
    evidence   JSONB   NOT NULL,                 -- [2, 3]: the actions that it rests on
    quote      TEXT,
    confidence DOUBLE PRECISION,                 -- 0 to 1
    simulated  BOOLEAN NOT NULL,
    at         BIGINT  NOT NULL
);
CREATE INDEX persona_feedback_of_persona ON persona_feedback (persona, seq);

-- The same two with names, for people with `sqlite3` or `psql`.
CREATE VIEW action_log AS
    SELECT a.email, p.archetype, x.tick, x.idx, x.tool, x.module, x.result, x.code, x.error_message, x.latency_ms, x.simulated, x.at
    FROM persona_action x JOIN persona p ON p.user_id = x.persona JOIN account a ON a.id = x.persona;
CREATE VIEW rating_log AS
    SELECT a.email, p.archetype, x.tick, x.module, x.rating, x.notes, x.quote, x.confidence, x.simulated, x.at
    FROM persona_feedback x JOIN persona p ON p.user_id = x.persona JOIN account a ON a.id = x.persona;
