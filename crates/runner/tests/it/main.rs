//! The runner against a small world of its own: identity, personas and an MCP server, over real HTTP.

mod chaos;
mod diagnostics;
mod interrupted;
mod visit;
mod world;
