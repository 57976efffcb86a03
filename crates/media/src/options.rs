//! How a media service is set up. Where the values come from is the business of whoever opens it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mana_types::Secret;
use object_store::ObjectStore;

use crate::image::{Limits, Recipe};
use crate::{Error, Result};

/// An S3-compatible store.
#[derive(Debug, Clone, Default)]
pub struct S3 {
    /// The bucket; it has to exist.
    pub bucket: String,
    /// What all keys begin with; empty for the whole bucket.
    pub prefix: String,
    /// The address of the server; none for Amazon's own.
    pub endpoint: Option<String>,
    /// The region; none for `us-east-1`, which servers of one's own take.
    pub region: Option<String>,
    /// Who asks; none for the machine's own role.
    pub key_id: Option<String>,
    /// What proves it.
    pub secret: Secret,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub enum Location {
    /// In a folder.
    Disk(PathBuf),
    /// In an S3-compatible store.
    S3(Box<S3>),
    /// In memory: for tests and for trying things out.
    Memory,
    /// In an object store that the caller brings.
    Other(Arc<dyn ObjectStore>),
}

impl Location {
    /// Reads `s3://BUCKET[/PREFIX]`, `memory:`, or the path of a folder. Endpoint, region and keys are set apart.
    pub fn parse(address: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Location { address: address.to_owned(), why: why.to_owned() };
        if address == "memory:" {
            return Ok(Self::Memory);
        }
        let Some(rest) = address.strip_prefix("s3://") else {
            return match address.split_once("://") {
                Some(("file", path)) if !path.is_empty() => Ok(Self::Disk(path.into())),
                Some(_) => Err(wrong("expected `s3://BUCKET/PREFIX` or the path of a folder")),
                None if address.is_empty() => Err(wrong("a path is missing")),
                None => Ok(Self::Disk(address.into())),
            };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("the name of the bucket is missing"));
        }
        let prefix = prefix.trim_matches('/').to_owned();
        Ok(Self::S3(Box::new(S3 { bucket: bucket.to_owned(), prefix, ..S3::default() })))
    }
}

/// How to open a media service.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the bytes are.
    pub location: Location,
    /// A local folder for uploads under way and for transforms that were made; losing it loses nothing.
    pub work: PathBuf,
    /// The most bytes of one file.
    pub max_bytes: u64,
    /// The types that are taken, such as `image/*` or `application/pdf`; empty for all.
    pub allowed: Vec<String>,
    /// How much an image may cost.
    pub limits: Limits,
    /// How variants are made.
    pub recipe: Recipe,
    /// How long bytes stay after nobody refers to them any more, and how old something must be to be litter.
    pub grace: Duration,
    /// How many bytes of transforms are kept.
    pub cache_bytes: u64,
    /// How many images are decoded at once: the number of cores.
    pub decodes: usize,
    /// How many transforms wait for their turn; whoever comes then is told to come again.
    pub waiting: usize,
}

impl Options {
    /// The usual limits: 100 MB a file, an hour of grace, 1 GiB of transforms, a decode per core.
    pub fn new(location: Location, work: impl Into<PathBuf>) -> Self {
        Self {
            location,
            work: work.into(),
            max_bytes: 100_000_000,
            allowed: Vec::new(),
            limits: Limits::default(),
            recipe: Recipe::default(),
            grace: Duration::from_hours(1),
            cache_bytes: 1 << 30,
            decodes: std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
            waiting: 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        match Location::parse("s3://photos/mana/prod/").expect("valid") {
            Location::S3(s3) => assert_eq!((&*s3.bucket, &*s3.prefix), ("photos", "mana/prod")),
            other => panic!("{other:?}"),
        }
        assert!(
            matches!(Location::parse("/srv/media"), Ok(Location::Disk(path)) if path.as_path() == std::path::Path::new("/srv/media"))
        );
        assert!(matches!(Location::parse("memory:"), Ok(Location::Memory)));
        for bad in ["", "s3://", "s3:///x", "ftp://host/x"] {
            assert!(matches!(Location::parse(bad), Err(Error::Location { .. })), "{bad}");
        }
    }
}
