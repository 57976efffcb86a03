-- One row per tool call, also of those that were denied. Never updated; goes with the account.
CREATE TABLE audit (
    id          UUID   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    user_id     UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    space       UUID,                          -- none where the call named a space that is not the user's
    door        TEXT   NOT NULL,               -- mcp, rest
    client      TEXT,                          -- the program that called, as it names itself
    correlation TEXT,                          -- what the client sent to recognise the call by
    tool        TEXT   NOT NULL,               -- as it was called
    input       TEXT   NOT NULL,               -- SHA-256 of the arguments as canonical JSON, 16 hexadecimal digits
    outcome     TEXT   NOT NULL,               -- success, handler-error, input-invalid, denied, cancelled
    reason      TEXT,                          -- the stable code of what went wrong or was noticed
    millis      BIGINT NOT NULL,
    request     UUID   NOT NULL
);
CREATE INDEX audit_of_user ON audit (user_id, at, id);
