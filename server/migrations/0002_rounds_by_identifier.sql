-- What a client has missed of a game, behind a round it had.
CREATE INDEX rounds_of_game_by_id ON rounds (game_id, id);
