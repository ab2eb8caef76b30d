"""Where an accepted row first becomes durable. One protocol, several logs; this version has segment files."""
