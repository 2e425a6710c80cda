-- Serves SQLite and PostgreSQL alike.
CREATE TABLE games (
    id BIGINT PRIMARY KEY,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    type TEXT NOT NULL
);

CREATE TABLE rounds (
    id BIGINT PRIMARY KEY,
    game_id BIGINT NOT NULL REFERENCES games (id),
    -- As it was published, with its offset: no timestamp type of either database keeps that.
    finished_at TEXT NOT NULL,
    extras TEXT NOT NULL,
    timestamp BIGINT NOT NULL
);

-- The newest rounds of a game, in the order they are asked for.
CREATE INDEX rounds_of_game ON rounds (game_id, timestamp, id);
