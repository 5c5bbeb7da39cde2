// Removed when the engine model lands.
