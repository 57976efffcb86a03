// npm `@modelcontextprotocol/client` 2.x: client_client.mjs URL TOKEN
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { story } from "./story.mjs";

const [url, token] = process.argv.slice(2);
const client = new Client({ name: "mana-ci-client", version: "1.0.0" }, { versionNegotiation: { mode: "auto" } });
const requestInit = { headers: { Authorization: `Bearer ${token}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
await story("npm client", client);
await client.close();
