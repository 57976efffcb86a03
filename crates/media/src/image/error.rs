//! Why a picture was refused.

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A type that is no picture, or one that is not decoded here.
    #[error("{0} cannot be decoded here")]
    Unsupported(&'static str),
    /// More than the limits allow, as the header says. Nothing was decoded.
    #[error("the image has {found} {what}, at most {limit} are decoded")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is, or at least.
        found: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// The bytes break off, or contradict themselves.
    #[error("the image is damaged: {0}")]
    Damaged(String),
    /// It took longer than the limits allow.
    #[error("the image takes too long to decode")]
    TooSlow,
    /// A parameter of a transform is wrong; says which and what it may be.
    #[error("{0}")]
    Parameter(String),
    /// The encoder could not store the result.
    #[error("the image could not be encoded: {0}")]
    Encode(String),
}

impl ImageError {
    /// Wraps what a decoder said.
    pub(crate) fn damaged(cause: impl std::fmt::Display) -> Self {
        Self::Damaged(cause.to_string())
    }
}
