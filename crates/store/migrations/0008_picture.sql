-- Pictures made by models: what users may spend on them, and what each wish took. One text for SQLite and PostgreSQL.

-- What a user has left, in credits, without what is reserved.
CREATE TABLE picture_account (
    user_id UUID   NOT NULL PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    balance BIGINT NOT NULL CHECK (balance >= 0),
    updated BIGINT NOT NULL
);

-- A wish: credits are reserved before it is sent to a model and settled after. A reservation whose process died is given
-- back once its time is over.
CREATE TABLE picture_wish (
    id       UUID   NOT NULL PRIMARY KEY,
    user_id  UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    key      TEXT,                           -- a retry under it gets the same answer
    input    TEXT   NOT NULL,                -- hash of what was asked
    state    TEXT   NOT NULL,                -- reserved, settled, released
    reserved BIGINT NOT NULL,
    spent    BIGINT,
    expires  BIGINT NOT NULL,                -- when a reservation is given back
    answer   JSONB,
    created  BIGINT NOT NULL
);
CREATE UNIQUE INDEX picture_wish_key ON picture_wish (user_id, key) WHERE key IS NOT NULL;
CREATE INDEX picture_wish_open ON picture_wish (user_id, expires) WHERE state = 'reserved';
