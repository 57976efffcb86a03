//! The binary itself, as a shell and a client see it.

mod commands;
mod crash;
mod matrix;
mod model;
mod refusals;
mod roles;
mod support;
mod up;
