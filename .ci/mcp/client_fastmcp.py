"""PyPI `fastmcp` 4.x: client_fastmcp.py URL TOKEN"""

import asyncio
import sys

from fastmcp import Client

from story import story


async def main(url: str, token: str) -> None:
    async with Client(url, auth=token) as client:
        tools = await client.list_tools()

        async def one(name: str, arguments: dict) -> dict:
            return (await client.call_tool(name, arguments)).structured_content

        await story("PyPI fastmcp", [tool.name for tool in tools], one)


asyncio.run(main(*sys.argv[1:3]))
