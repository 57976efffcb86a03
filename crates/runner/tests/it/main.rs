//! The runner against a small world of its own: identity, personas and an MCP server, over real HTTP.

mod canaries;
mod chaos;
mod diagnostics;
mod edges_closing;
mod edges_loop;
mod edges_mcp;
mod edges_provider;
mod edges_resume;
mod foreign;
mod foreign_server;
mod interrupted;
mod ledger;
mod logged;
mod model_world;
mod replay;
mod tools;
mod visit;
mod world;
