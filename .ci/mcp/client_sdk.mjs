// npm `@modelcontextprotocol/sdk` 1.x: client_sdk.mjs URL TOKEN
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { story } from "./story.mjs";

const [url, token] = process.argv.slice(2);
const client = new Client({ name: "mana-ci-sdk", version: "1.0.0" });
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
await story("npm sdk", client);
await client.close();
