"""HTTP octet by octet, for what no client library lets a test say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.http.service import PATIENCE, Client


@asynccontextmanager
async def connected(
    service: Client,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(service.url)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def said(service: Client, octets: bytes) -> bytes:
    """Send the octets and return all that comes back until the server hangs up."""
    async with connected(service) as (reader, writer):
        writer.write(octets)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def status(octets: bytes) -> int:
    return int(octets.split(b" ", 2)[1])
