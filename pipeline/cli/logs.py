"""How processes log: to stderr, an event name and fields a line."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
