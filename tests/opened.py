"""What an engine of a test needs besides its answers: it is opened and closed, and nothing happens."""


class Opened:
    """An engine that has nothing to close."""

    def close(self):
        """Nothing is open."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
