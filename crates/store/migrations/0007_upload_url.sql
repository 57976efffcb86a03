-- Addresses at which a program that holds nothing else may leave one file for a user. One text for SQLite and PostgreSQL.
CREATE TABLE media_upload_url (
    token   TEXT   NOT NULL PRIMARY KEY,     -- SHA-256 of the random part of the address, which is kept nowhere
    user_id UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    app     TEXT   NOT NULL,                 -- empty: none
    name    TEXT,                            -- what the file will be called; none: as its sender says
    expires BIGINT NOT NULL,
    used    BIGINT                           -- when a file was left there
);
CREATE INDEX media_upload_url_of_user ON media_upload_url (user_id, expires);
