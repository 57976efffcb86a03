//! Typed ids. One list, so that a space can never be passed where a user is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::{Clock, Random};

/// A text that is not an id: ids are UUIDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id, expected a UUID such as `0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11`")]
pub struct InvalidId(pub String);

/// A UUIDv7 (RFC 9562): 48 bits of milliseconds, so that new rows land at the end of an index, and 74 random bits.
fn new_v7(clock: &dyn Clock, random: &dyn Random) -> Uuid {
    let mut bytes = [0; 10];
    random.fill(&mut bytes);
    Builder::from_unix_timestamp_millis(clock.now().as_millis().cast_unsigned(), &bytes).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: a `UUIDv7` of this clock's time.
            pub fn new(clock: &dyn Clock, random: &dyn Random) -> Self {
                Self(new_v7(clock, random))
            }

            /// The id behind a stored UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID, to store it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId(text.chars().take(60).collect()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    )+};
}

ids! {
    /// An account.
    UserId,
    /// A space: the boundary of data and membership.
    SpaceId,
    /// A record within a space.
    RecordId,
    /// One entry of the change log.
    ChangeId,
    /// A sign-in and all tokens that descend from it.
    SessionId,
    /// A signing key; the `kid` of a token.
    KeyId,
    /// One HTTP request.
    RequestId,
    /// One audited tool call.
    ActionId,
    /// One stored file.
    MediaId,
}

impl MediaId {
    /// A new id of 122 random bits (`UUIDv4`) and nothing else: whoever knows it may fetch the file, so no part of it
    /// may be guessed. Needs a [`Random`] that is fit for secrets.
    pub fn unguessable(random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        random.fill(&mut bytes);
        Self(Builder::from_random_bytes(bytes).into_uuid())
    }
}

/// One visit of one persona, as named on the wire.
///
/// Our own runner uses UUIDs; older clients send any short text, so this is text of 1 to 128 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct TickId(String);

impl TickId {
    /// A new tick id: a `UUIDv7` as text.
    pub fn new(clock: &dyn Clock, random: &dyn Random) -> Self {
        Self(new_v7(clock, random).to_string())
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TickId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId(text.chars().take(60).collect())) }
    }
}

impl<'de> Deserialize<'de> for TickId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("expected 1 to 128 visible ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SeededRandom, Timestamp};

    #[test]
    fn ids_sort_by_time_and_read_back() {
        let clock = ManualClock::at(Timestamp::from_millis(1_700_000_000_000));
        let random = SeededRandom::new(1);
        let first = UserId::new(&clock, &random);
        clock.advance_millis(1);
        let second = UserId::new(&clock, &random);
        assert!(first < second);
        assert_eq!(first.to_string().parse::<UserId>(), Ok(first));
        assert_eq!(first.uuid().get_version_num(), 7);
    }

    #[test]
    fn a_tick_id_is_short_visible_ascii() {
        assert!("tick-2026-11-20".parse::<TickId>().is_ok());
        for bad in ["", "a b", "ü", &"x".repeat(129)] {
            assert!(bad.parse::<TickId>().is_err(), "{bad}");
        }
    }
}
