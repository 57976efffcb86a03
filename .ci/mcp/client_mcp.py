"""PyPI `mcp` 2.x: client_mcp.py URL TOKEN MODE, where MODE is a protocol version, `auto` or `legacy`."""

import asyncio
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from story import story


async def main(url: str, token: str, mode: str) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            listed = await client.list_tools()
            await story(f"PyPI mcp ({mode})", [tool.name for tool in listed.tools], call(client))


def call(client: Client):
    async def one(name: str, arguments: dict) -> dict:
        result = await client.call_tool(name, arguments)
        if result.is_error:
            raise SystemExit(f"{name} failed: {result.content}")
        return result.structured_content

    return one


asyncio.run(main(*sys.argv[1:4]))
