//! What can go wrong with media.

use mana_types::MediaId;

use crate::image::ImageError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file, or the caller holds no reference to it.
    #[error("there is no such file")]
    UnknownMedia,
    /// The user that a file should belong to does not exist.
    #[error("there is no such user")]
    UnknownUser,
    /// An upload without a single byte.
    #[error("the file is empty")]
    Empty,
    /// An upload beyond the limit.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The most bytes of one file.
        limit: u64,
    },
    /// This installation takes no files of this type.
    #[error("files of type `{0}` are not taken here")]
    NotAllowed(String),
    /// A name of an app that is none.
    #[error("an app is named with 1 to 64 letters, digits, `.`, `_`, `:` or `-`")]
    InvalidApp,
    /// Nobody was given this address.
    #[error("there is no such upload address")]
    UnknownUploadUrl,
    /// A file was left there already, or its time is over.
    #[error("this upload address was used already or its time is over, ask for another")]
    SpentUploadUrl,
    /// Only images can be resized.
    #[error("this file is not an image that can be resized")]
    NotAnImage,
    /// The image cannot be decoded within its limits.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// As many images wait for a processor as may wait.
    #[error("too many images are being processed, try again in a moment")]
    Busy,
    /// The body of an upload broke off.
    #[error("the upload broke off before its end, send it again")]
    Interrupted(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The object store did not do what was asked.
    #[error("the store of files is not available at the moment")]
    Unavailable(#[source] object_store::Error),
    /// The local disk did not do what was asked.
    #[error("a file could not be written or read")]
    Disk(#[source] std::io::Error),
    /// A row without bytes: what `mana media fsck` looks for.
    #[error("the bytes of file `{0}` are lost, uploading them again brings them back")]
    Lost(MediaId),
    /// Uploads of the same bytes kept crossing each other; cannot happen more than a few times in a row.
    #[error("the file is being removed and uploaded at once, try again in a moment")]
    Contended,
    /// A place for files that no store here serves.
    #[error("`{address}` cannot hold files: {why}")]
    Location {
        /// As it was configured.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Work in the background ended without an answer: the process is stopping, or a library has a fault.
    #[error("processing ended without an answer")]
    Task(#[source] tokio::task::JoinError),
    /// The database.
    #[error(transparent)]
    Store(#[from] mana_store::Error),
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        Self::Unavailable(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Task(error)
    }
}

impl Error {
    /// Whether the same call may work later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Busy | Self::Contended | Self::Interrupted(_) | Self::Unavailable(_) | Self::Disk(_) => true,
            Self::UnknownMedia
            | Self::UnknownUser
            | Self::Empty
            | Self::TooLarge { .. }
            | Self::NotAllowed(_)
            | Self::InvalidApp
            | Self::UnknownUploadUrl
            | Self::SpentUploadUrl
            | Self::NotAnImage
            | Self::Image(_)
            | Self::Lost(_)
            | Self::Location { .. }
            | Self::Task(_) => false,
        }
    }
}

/// What a function of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
