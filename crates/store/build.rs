//! A new migration is compiled in, although no source file has changed.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
