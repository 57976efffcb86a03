-- One text for SQLite and PostgreSQL. Times are milliseconds since the epoch; ids are UUIDs made by the program.

-- An account. Rules about it stand in `identity`; the table is here because membership reads its zone and language.
CREATE TABLE account (
    id             UUID    NOT NULL PRIMARY KEY,
    email          TEXT    NOT NULL,           -- as the user wrote it
    email_key      TEXT    NOT NULL UNIQUE,    -- lower case: what sign-in looks for
    name           TEXT    NOT NULL,
    password_hash  TEXT    NOT NULL,           -- PHC string, argon2id
    role           TEXT    NOT NULL,           -- user, admin, service
    kind           TEXT    NOT NULL,           -- human, persona, system
    tier           TEXT    NOT NULL,
    email_verified BOOLEAN NOT NULL,
    locale         TEXT    NOT NULL,           -- BCP 47, such as de or en-GB
    timezone       TEXT    NOT NULL,           -- IANA, such as Europe/Berlin
    created        BIGINT  NOT NULL,
    updated        BIGINT  NOT NULL
);

-- The boundary of data.
CREATE TABLE space (
    id      UUID   NOT NULL PRIMARY KEY,
    kind    TEXT   NOT NULL,                   -- personal, family, team, brand, club, practice
    name    TEXT   NOT NULL,
    slug    TEXT   NOT NULL UNIQUE,
    created BIGINT NOT NULL
);

CREATE TABLE membership (
    user_id UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    space   UUID   NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    role    TEXT   NOT NULL,                   -- owner, admin, member
    since   BIGINT NOT NULL,
    PRIMARY KEY (user_id, space)
);
CREATE INDEX membership_of_space ON membership (space);

-- Every piece of data of every module. `at` is the kind's own sort key, the largest number where there is none;
-- `words` is what search looks through, in lower case.
CREATE TABLE record (
    space   UUID   NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    kind    TEXT   NOT NULL,
    id      UUID   NOT NULL,
    rev     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    words   TEXT   NOT NULL,
    data    JSONB  NOT NULL,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    deleted BIGINT,
    PRIMARY KEY (space, kind, id)
);
CREATE INDEX record_by_at ON record (space, kind, at, id);
CREATE INDEX record_by_updated ON record (space, kind, updated, id);

-- What happened to a record, in the same transaction as the change itself. Never updated.
CREATE TABLE record_change (
    space  UUID   NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    kind   TEXT   NOT NULL,
    id     UUID   NOT NULL,
    rev    BIGINT NOT NULL,
    seq    UUID   NOT NULL,                    -- time-ordered: the order of the feed
    op     TEXT   NOT NULL,                    -- create, update, archive, restore
    data   JSONB  NOT NULL,                    -- the record after the change
    actor  UUID   NOT NULL,                    -- the user
    client TEXT,                               -- the program that called, as it names itself
    tick   TEXT,                               -- the visit, where a persona acted
    at     BIGINT NOT NULL,
    PRIMARY KEY (space, kind, id, rev)
);
CREATE INDEX record_change_feed ON record_change (space, seq);
CREATE INDEX record_change_of_tick ON record_change (tick) WHERE tick IS NOT NULL;

-- Running numbers without gaps, such as those of invoices; taken in the transaction that uses the number.
CREATE TABLE counter (
    space UUID   NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    name  TEXT   NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (space, name)
);

-- The answer to a write that carried an idempotency key, in the same transaction as the write.
CREATE TABLE idempotency (
    user_id UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    space   UUID   NOT NULL REFERENCES space (id) ON DELETE CASCADE,
    key     TEXT   NOT NULL,
    tool    TEXT   NOT NULL,
    input   TEXT   NOT NULL,                   -- hash of the arguments
    result  JSONB  NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (user_id, space, key)
);
CREATE INDEX idempotency_by_age ON idempotency (at);
