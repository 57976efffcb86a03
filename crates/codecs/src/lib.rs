//! A safe door to libjpeg and libwebp: planes in and out.
//!
//! The two C libraries that read and write nearly every picture there is, behind functions that cannot be called wrongly.
//! Both are built from source by the C compiler alone.
//!
//! Everything that C is given is checked here first: lengths against dimensions, dimensions against what the format can hold.
//! What C allocates is freed on every path, by `Drop`.

pub mod jpeg;
pub mod webp;
