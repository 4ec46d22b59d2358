"""The SDK: `Client` for ordinary code, `AsyncClient` for asyncio, `errors` for what they raise."""

from perdure.client.client import AsyncClient, Client
from perdure.client.retries import RetryPolicy

__all__ = ["AsyncClient", "Client", "RetryPolicy"]
