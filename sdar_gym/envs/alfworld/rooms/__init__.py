"""Generated rooms that look like the published ones: kitchens, living rooms, bedrooms and bathrooms, without end.

`figures.json` says what real rooms are like, `statistics` made it; `scenario` draws a room by it, `generator` writes
it out as a game, `games` is the environment, `publish` writes folders of games.
"""
