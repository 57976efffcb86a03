-- Media: every file once, whose it is, what was made of it. One text for SQLite and PostgreSQL.

-- Which keys of the object store are in use. A key that was given up is never used again: the same bytes, uploaded
-- anew, get the next generation, so that a removal under way, however late, cannot hit them.
CREATE TABLE media_blob (
    hash       TEXT   NOT NULL,              -- SHA-256 of the bytes, 64 hexadecimal digits
    generation BIGINT NOT NULL,
    dead       BIGINT,                       -- when it was given up; none: in use
    gone       BIGINT,                       -- when its bytes were removed
    PRIMARY KEY (hash, generation)
);
CREATE INDEX media_blob_dead ON media_blob (dead) WHERE dead IS NOT NULL;

-- A file, what processing found in it, and the leased job that does it. `ready_at` alone decides when a job may be
-- claimed: now, the end of a lease, the time of a retry, or the largest number where there is nothing to do.
CREATE TABLE media (
    id           UUID    NOT NULL PRIMARY KEY,  -- 122 random bits: whoever knows it may fetch the file
    hash         TEXT    NOT NULL UNIQUE,
    generation   BIGINT  NOT NULL,
    size         BIGINT  NOT NULL,
    mime         TEXT    NOT NULL,           -- seen in the bytes; declared only where they do not show it
    created      BIGINT  NOT NULL,
    condemned    BIGINT,                     -- since when nobody refers to it
    state        TEXT    NOT NULL,           -- queued, ready, failed, skipped
    reason       TEXT,                       -- why it failed
    finished     BIGINT,                     -- when it last became ready or failed
    ready_at     BIGINT  NOT NULL,
    epoch        BIGINT  NOT NULL,           -- grows with every claim: the fence
    attempts     BIGINT  NOT NULL,           -- claims since it was queued
    width        BIGINT,
    height       BIGINT,
    format       TEXT,
    has_alpha    BOOLEAN,
    camera       TEXT,
    lens         TEXT,
    taken_at     BIGINT,                     -- as UTC where the camera noted no offset
    taken_offset BIGINT,                     -- minutes east of UTC
    latitude     DOUBLE PRECISION,
    longitude    DOUBLE PRECISION,
    exif         JSONB,                      -- all of it, as it is spoken
    FOREIGN KEY (hash, generation) REFERENCES media_blob (hash, generation)
);
CREATE INDEX media_due ON media (ready_at) WHERE ready_at < 9223372036854775807;
CREATE INDEX media_condemned ON media (condemned) WHERE condemned IS NOT NULL;

-- Who refers to a file, for which app, under which name, since when.
CREATE TABLE media_reference (
    media   UUID   NOT NULL REFERENCES media (id),
    user_id UUID   NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    app     TEXT   NOT NULL,                 -- empty: none
    name    TEXT   NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (media, user_id, app)
);
CREATE INDEX media_reference_of_user ON media_reference (user_id, created, media);

-- A smaller image made of a file.
CREATE TABLE media_variant (
    media  UUID   NOT NULL REFERENCES media (id) ON DELETE CASCADE,
    name   TEXT   NOT NULL,                  -- thumb, medium, large
    path   TEXT   NOT NULL UNIQUE,           -- where its bytes lie in the object store
    hash   TEXT   NOT NULL,
    size   BIGINT NOT NULL,
    mime   TEXT   NOT NULL,
    width  BIGINT NOT NULL,
    height BIGINT NOT NULL,
    made   BIGINT NOT NULL,
    PRIMARY KEY (media, name)
);
