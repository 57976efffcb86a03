//! Every store function, on each engine.

mod engine;
mod records;
