//! The words every crate of Mana shares: typed ids, time, chance, pages, secrets, languages.
//!
//! Nothing here does I/O beyond asking the operating system for the time and for random bytes, and nothing is async.
//! Whoever needs time or chance takes a [`Clock`] or a [`Random`], so that a test can say what they answer.

mod canonical;
mod clock;
mod field;
mod id;
mod page;
mod random;
mod secret;
mod text;
mod timestamp;

pub use canonical::input_hash;
pub use clock::{Clock, ManualClock, SystemClock};
pub use field::FieldError;
pub use id::{ActionId, ChangeId, InvalidId, KeyId, MediaId, RecordId, RequestId, SessionId, SpaceId, TickId, UserId};
pub use page::{Cursor, InvalidCursor, Page};
pub use random::{Random, SeededRandom, SystemRandom};
pub use secret::Secret;
pub use text::{Lang, nearest};
pub use timestamp::{Date, InvalidTime, Timestamp};
