//! The doors as a whole: real store, both databases, requests through the router.

mod audit;
mod bad_input;
mod matrix;
mod mcp;
mod rest;
mod world;
