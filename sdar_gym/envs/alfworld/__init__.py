"""ALFWorld: published household games, played by a native engine that answers as the official one does."""
