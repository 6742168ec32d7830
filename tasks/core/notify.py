"""Telling people what happened, at the addresses of ``UPDRAFT_NOTIFY``."""

import logging

from tasks.core.settings import settings

log = logging.getLogger("updraft")


def notify(title: str, body: str) -> bool:
    """Sends a message to every address; whether all of them took it. Nobody to tell: True.

    What cannot be delivered is logged and never raised: a message about a result must not undo the result. Addresses
    hold passwords, so the log does not name them.
    """
    addresses = settings().notify.get_secret_value()
    if not addresses:
        return True
    import apprise  # takes a second; most processes have nobody to tell

    logging.getLogger("apprise").disabled = True  # it logs an address that it cannot read, with its password
    sender = apprise.Apprise()
    try:
        known = all([sender.add(address.strip()) for address in addresses.split(",") if address.strip()])
        sent = known and bool(sender.notify(title=title, body=body))
    except Exception as error:
        log.warning("%s: a notification failed: %s", title, type(error).__name__)
        return False
    if not sent:
        log.warning("%s: an address of UPDRAFT_NOTIFY is unknown or did not take the notification", title)
    return sent
