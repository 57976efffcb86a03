//! Why no picture was made.

use mana_types::MediaId;

/// Why no picture was made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// Nothing was said of what it should show.
    #[error("say in `prompt` what the picture should show, in at most {0} characters")]
    Prompt(usize),
    /// No picture to go by, where one is needed.
    #[error("name at least one picture in `referenceMediaIds`")]
    NoReference,
    /// Too many pictures to go by.
    #[error("name at most {limit} pictures in `referenceMediaIds`")]
    TooManyReferences {
        /// The most.
        limit: usize,
    },
    /// Nobody makes pictures here.
    #[error("this installation makes no pictures, its operator can name a provider")]
    NoProvider,
    /// A model that is not offered here.
    #[error("there is no model `{model}` here, known are: {known}")]
    UnknownModel {
        /// As it was asked for.
        model: String,
        /// The names that would do.
        known: String,
    },
    /// A quality or a size that the model does not know.
    #[error("`{field}`: expected one of {expected}")]
    Setting {
        /// The field.
        field: &'static str,
        /// What would do.
        expected: String,
    },
    /// A key that is none.
    #[error("an idempotency key has 1 to 200 characters, none of them a control character")]
    InvalidKey,
    /// Too few credits are left.
    #[error("this takes {required} credits, and {available} are left")]
    Credits {
        /// What it takes.
        required: i64,
        /// What is left.
        available: i64,
    },
    /// References that are not the user's.
    #[error("some of `referenceMediaIds` are not among your own pictures")]
    Missing(Vec<String>),
    /// A reference that cannot be read as a picture.
    #[error("the picture `{id}` cannot be read")]
    Unreadable {
        /// Which.
        id: MediaId,
        /// Why.
        #[source]
        cause: Box<crate::Error>,
    },
    /// The provider did not make it. The text is short and holds no secret.
    #[error("the provider made no picture: {0}")]
    Provider(String),
    /// The same wish, under the same key, is being fulfilled.
    #[error("a picture is being made under this key, ask again in a moment")]
    Underway,
    /// The key was used for another wish.
    #[error("this idempotency key was already used for another wish")]
    KeyReused,
    /// The user does not exist.
    #[error("there is no such user")]
    UnknownUser,
    /// The work ended without an answer: the process is stopping, or a library has a fault.
    #[error("making the picture ended without an answer")]
    Task(#[from] tokio::task::JoinError),
    /// Files.
    #[error(transparent)]
    Media(#[from] crate::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] mana_store::Error),
}
