//! The runner against a small world of its own: identity, personas and an MCP server, over real HTTP.

mod chaos;
mod diagnostics;
mod foreign;
mod foreign_server;
mod interrupted;
mod replay;
mod visit;
mod world;
