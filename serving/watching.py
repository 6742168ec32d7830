"""What is looked up again and again by a thread, so that no request waits for the registry."""

import logging
import threading

log = logging.getLogger("updraft.serving")


class Watcher:
    """Looks when it is started, and then by a thread; what fails is logged once and tried again at the next look.

    Args:
        name: the thread's.
        seconds: between two looks.
        blind: what holds while a look fails, as a sentence.
    """

    def __init__(self, name: str, seconds: float, blind: str) -> None:
        self._seconds, self._said, self._blind = seconds, blind, False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def look(self) -> None:
        """Looks, and takes over what there is; may raise anything."""
        raise NotImplementedError

    def start(self) -> None:
        """Looks, then goes on watching."""
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._stopped.set()
        self._thread.join()

    def refresh(self) -> None:
        """Looks once."""
        try:
            self.look()
        except Exception as error:
            if not self._blind:
                log.warning("%s %s", self._said, error)
            self._blind = True
        else:
            self._blind = False

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.refresh()
