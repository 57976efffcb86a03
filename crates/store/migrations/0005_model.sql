-- Models: what their calls cost, what a persona carries from one visit to the next, and products other than this one.

-- The product that a persona visits; none means this installation. Secrets stand in it by the name of their setting only.
ALTER TABLE persona ADD COLUMN target JSONB;
-- The tools that it may call, by name or by `prefix*`; none means all.
ALTER TABLE persona ADD COLUMN tools JSONB;

-- What the persona wrote about its visit before it rated.
ALTER TABLE persona_tick ADD COLUMN diary TEXT;

-- What a call answered, before it was cut for the model.
ALTER TABLE persona_action ADD COLUMN result_bytes BIGINT;
ALTER TABLE persona_action ADD COLUMN result_hash TEXT;

-- One call of a model. Booked at what was reserved until it is settled; a process that died leaves it that way.
-- Money is in millionths of a US dollar.
CREATE TABLE model_call (
    tick                  TEXT    NOT NULL,
    epoch                 BIGINT  NOT NULL,      -- of the claim that made it
    call                  BIGINT  NOT NULL,      -- its number under this claim
    persona               UUID    NOT NULL REFERENCES persona (user_id) ON DELETE CASCADE,
    model                 TEXT    NOT NULL,
    at                    BIGINT  NOT NULL,      -- when it was reserved
    day                   TEXT    NOT NULL,      -- YYYY-MM-DD in UTC: the day it counts for, also when settled later
    reserved_tokens       BIGINT  NOT NULL,
    reserved_micro        BIGINT  NOT NULL,
    settled_at            BIGINT,
    input_tokens          BIGINT  NOT NULL DEFAULT 0,
    output_tokens         BIGINT  NOT NULL DEFAULT 0,
    cache_read_tokens     BIGINT  NOT NULL DEFAULT 0,
    cache_write_5m_tokens BIGINT  NOT NULL DEFAULT 0,
    cache_write_1h_tokens BIGINT  NOT NULL DEFAULT 0,
    cost_micro            BIGINT  NOT NULL,      -- what was reserved, then what it came to
    estimated             BOOLEAN NOT NULL,      -- not settled, or settled without the provider's figures
    PRIMARY KEY (tick, epoch, call)
);
CREATE INDEX model_call_by_day ON model_call (day);
CREATE INDEX model_call_of_persona ON model_call (persona, day);

-- Running totals, so that a check reads four rows and never a history. Scope and period: `all` with a day and with a
-- month, `persona:{id}` with a day, `tick:{id}` with nothing. They are locked in the order of their key. Those of a
-- persona go with it; those of everybody stay, because the money was spent.
CREATE TABLE model_spend (
    scope      TEXT   NOT NULL,
    period     TEXT   NOT NULL,
    persona    UUID   REFERENCES persona (user_id) ON DELETE CASCADE,
    cost_micro BIGINT NOT NULL,
    tokens     BIGINT NOT NULL,
    PRIMARY KEY (scope, period)
);
CREATE INDEX model_spend_of_persona ON model_spend (persona) WHERE persona IS NOT NULL;

-- The story of a persona so far, in its own words, rewritten every few visits.
CREATE TABLE persona_story (
    persona      UUID   NOT NULL PRIMARY KEY REFERENCES persona (user_id) ON DELETE CASCADE,
    text         TEXT   NOT NULL,
    through_tick TEXT   NOT NULL,                -- the latest visit that it tells of
    updated      BIGINT NOT NULL
);
