//! The binary itself, as a shell and a client see it.

mod commands;
mod crash;
mod matrix;
mod media;
mod model;
mod model_crash;
mod refusals;
mod roles;
mod support;
mod up;
