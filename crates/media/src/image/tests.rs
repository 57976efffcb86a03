//! Pictures that are as they should be, and those that are not.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "pixels are small numbers, and have short names"
)]

#[path = "../../benches/support/mod.rs"]
mod support;

mod bad;
mod make;
mod metadata;
mod sniffing;
mod transforms;
mod variants;
