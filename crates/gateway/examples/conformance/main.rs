//! The official conformance suite's fixtures (`@modelcontextprotocol/conformance`) behind the layers of production:
//! CORS, host and origin, bearer, membership, body limit.
//!
//! Listens on a free port of 127.0.0.1 and prints one line: its address, a blank, and a token that is good there.
#![expect(clippy::print_stdout, reason = "the address and the token are for whoever started it")]

mod fixture;
mod rounds;
#[path = "../../tests/it/world.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod world;

use std::error::Error;

use mana_gateway::{Sessions, mount};
use tokio::net::TcpListener;

use crate::world::World;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let world = World::new(mana_testkit::sqlite().await).await;
    let fixture = fixture::Fixture::new(b"only the conformance run uses this key")?;
    let router = mount(world.gateway.clone(), fixture, Sessions::Legacy);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{} {}", listener.local_addr()?, world.anna.token);
    axum::serve(listener, router).await?;
    Ok(())
}
