//! Where the bytes of a file are to be fetched, as a whole address.

use mana_types::{MediaId, Timestamp};

use crate::DoorOptions;
use crate::media::Variant;
use crate::sign::Signer;
use crate::wire::file_path;

/// Makes addresses of files, signed where this installation wants them signed.
#[derive(Debug)]
pub struct Addresses {
    base: String,
    signer: Option<Signer>,
}

impl Addresses {
    /// Addresses as these doors answer them.
    pub fn new(options: &DoorOptions) -> Self {
        let base = options.public_url.as_deref().unwrap_or_default().trim_end_matches('/').to_owned();
        Self { base, signer: options.signed_urls.as_ref().map(Signer::new) }
    }

    /// The address of a file or of a smaller image of it.
    pub fn of(&self, id: MediaId, variant: Option<Variant>, now: Timestamp) -> String {
        let path = file_path(id, variant);
        match &self.signer {
            Some(signer) => format!("{}{}", self.base, signer.sign(&path, "", now)),
            None => self.whole(&path),
        }
    }

    /// The whole address of a path of this installation.
    pub fn whole(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}
