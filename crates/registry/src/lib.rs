//! The registry: the one list of modules and tools, from which every door (MCP, REST, web, command line) is made.
//!
//! A module is a file: record types with constrained fields, and functions that take a [`Cx`] and an input type.
//! Schemas derive from the types. What a tool writes lies in one transaction that is committed when it succeeds, with
//! the answer to its idempotency key; a tool that is marked as reading cannot write at all.
//!
//! ```
//! use mana_registry::prelude::*;
//!
//! /// A wish.
//! #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
//! struct Wish {
//!     /// What is wished for.
//!     title: Line<200>,
//! }
//!
//! impl Record for Wish {
//!     const KIND: &'static str = "wishes.wish";
//! }
//!
//! async fn create(cx: Cx, wish: Wish) -> Result<Stored<Wish>> {
//!     cx.records().add(wish).await
//! }
//!
//! let module = Module::new("wishes", "Keep wishes.").labels("Wishes", "Wünsche")
//!     .tool(write("wishes_create", "Write down a wish.", create));
//! assert!(Registry::new(vec![module]).is_ok());
//! ```

mod cx;
mod error;
mod help;
mod input;
mod media;
mod module;
mod schema;
mod text;
mod tool;

pub use cx::{Caller, Cx, Records};
pub use error::{Failure, ToolError};
pub use help::{count_words, excerpt, put};
pub use mana_store::records::{Filter, Order, Record, Stored};
pub use mana_store::space::{Membership, SpaceKind, SpaceRole};
pub use mana_types::{Cursor, Date, FieldError, Lang, MediaId, Page, RecordId, SpaceId, Timestamp, UserId};
pub use media::{
    MadePictures, Media, MediaFault, MediaFile, MediaList, MediaQuery, MediaStats, MediaStore, MediaUrls, NewFile,
    NewPictures, Pending, Shot, UploadUrl,
};
pub use module::{Call, Module, Registry, RegistryFaults};
pub use text::{Color, Currency, Email, Limit, Line, Paging, Tag, Tags, Text, TimeZoneName, WebUrl, Whole};
pub use tool::{Hint, Nothing, Scope, Tool, destructive, read, write};

/// What a tool answers.
pub type Result<T, E = ToolError> = std::result::Result<T, E>;

/// Everything that the file of a module needs.
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        Color, Currency, Cx, Date, Email, FieldError, Filter, Lang, Limit, Line, MediaId, MediaUrls, Module, Nothing,
        Order, Page, Paging, Record, RecordId, Registry, Result, SpaceId, Stored, Tag, Tags, Text, TimeZoneName,
        Timestamp, ToolError, UserId, WebUrl, Whole, destructive, put, read, write,
    };
}

/// Holds the walk-through to what compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/adding-a-module.md")]
struct AddingAModule;
