-- Signing in: keys, sessions, refresh tokens, failures. One text for SQLite and PostgreSQL.

-- Statistics and lists of accounts always ask for one kind.
CREATE INDEX account_by_kind ON account (kind, created, id);

-- The Ed25519 keys that sign access tokens. The newest signs; an older one stays until its last token has expired.
CREATE TABLE signing_key (
    id      UUID   NOT NULL PRIMARY KEY,       -- the `kid` of its tokens
    seed    BYTEA  NOT NULL,                   -- 32 secret bytes
    created BIGINT NOT NULL
);

-- One sign-in: the family of all tokens that descend from it.
CREATE TABLE session (
    id      UUID   NOT NULL PRIMARY KEY,       -- the `sid` of its tokens
    user_id UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    created BIGINT NOT NULL,
    used    BIGINT NOT NULL,                   -- last time tokens were given out
    revoked BIGINT
);
CREATE INDEX session_of_user ON session (user_id);
CREATE INDEX session_by_use ON session (used);
CREATE INDEX session_revoked ON session (revoked) WHERE revoked IS NOT NULL;

-- Kept after its rotation until it expires, so that a second use is noticed.
CREATE TABLE refresh_token (
    hash    BYTEA  NOT NULL PRIMARY KEY,       -- SHA-256 of the token
    session UUID   NOT NULL REFERENCES session (id) ON DELETE CASCADE,
    expires BIGINT NOT NULL,
    rotated BIGINT                             -- when it was first exchanged for a newer one
);
CREATE INDEX refresh_token_of_session ON refresh_token (session);
CREATE INDEX refresh_token_by_age ON refresh_token (expires);

-- The five most recent wrong passwords of an e-mail, newest first; also of e-mails that nobody has.
CREATE TABLE sign_in_failure (
    email_key TEXT   NOT NULL PRIMARY KEY,
    at_1      BIGINT NOT NULL,
    at_2      BIGINT,
    at_3      BIGINT,
    at_4      BIGINT,
    at_5      BIGINT
);
CREATE INDEX sign_in_failure_by_age ON sign_in_failure (at_1);
