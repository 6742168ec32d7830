"""The endpoint of this installation, as the platform's own commands ask it."""

import httpx

from tasks.core.errors import BadInput
from tasks.core.settings import Settings
from tasks.platform.environment import serving_url


def endpoint_client(settings: Settings, timeout: float = 10.0) -> httpx.Client:
    """A client of the endpoint, whatever proxy leads out of this machine; it sends the key of UPDRAFT_API_KEY."""
    key = settings.api_key.get_secret_value()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=serving_url(settings), headers=headers, timeout=timeout, trust_env=False)


def check_allowed(answer: httpx.Response) -> None:
    """Raises BadInput if the answer says that the endpoint wants a key, or another one."""
    if answer.status_code not in (401, 403):
        return
    why = answer.json()["error"]["message"].partition(". ")[0].rstrip(".")
    fix = "Give it a key that it takes: export UPDRAFT_API_KEY=$(.venv/bin/updraft keys create NAME)"
    raise BadInput(f"{answer.url.host}:{answer.url.port} refused the request: {why}.", fix)
