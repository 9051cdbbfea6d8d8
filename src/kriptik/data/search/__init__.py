"""Finding data elsewhere: the hub, papers, the web, licensed providers; what was chosen is fetched, pinned by revision and hash."""
