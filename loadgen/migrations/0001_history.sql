-- Serves SQLite and PostgreSQL alike.
CREATE TABLE machines (
    fingerprint TEXT PRIMARY KEY,
    description TEXT NOT NULL
);

CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (fingerprint),
    branch TEXT NOT NULL,
    revision TEXT NOT NULL,
    -- RFC 3339 in UTC, which sorts as text.
    measured_at TEXT NOT NULL,
    verdict TEXT NOT NULL
);

CREATE TABLE figures (
    run TEXT NOT NULL REFERENCES runs (id),
    -- Protocol and load.
    case_name TEXT NOT NULL,
    metric TEXT NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (run, case_name, metric)
);

CREATE INDEX runs_in_order ON runs (branch, machine, measured_at);
