// Removed when the first room lands.
