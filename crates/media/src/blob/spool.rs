//! An upload on its way: a temporary file, hashed and counted while it is written.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use mana_types::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::Blobs;
use crate::hash::Hash;
use crate::{Error, Result};

/// How much of the beginning is kept to see what the file is.
const HEAD: usize = 4096;
/// How much is collected before it is written.
const BUFFER: usize = 256 << 10;

/// A complete upload in a temporary file, which goes when this goes.
#[derive(Debug)]
pub(crate) struct Spooled {
    file: Temporary,
    /// Holds the lock that tells every collector that somebody is at work here.
    _locked: File,
    pub(crate) hash: Hash,
    pub(crate) size: u64,
    /// The first 4 KiB.
    pub(crate) head: Vec<u8>,
}

#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // The collector takes it.
            Err(error) => tracing::warn!(error = %error, "media.spool.left_behind"),
        }
    }
}

/// What is told to the thread that writes. Without an end the upload has been given up.
enum Piece {
    Bytes(Bytes),
    End,
}

impl Blobs {
    /// Writes a stream of bytes to a temporary file. Beyond the limit, or if the stream breaks off, nothing is left.
    pub(crate) async fn spool<S, E>(&self, body: S, limit: u64) -> Result<Spooled>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut name = [0; 16];
        self.random.fill(&mut name);
        let path = self.temporary.join(format!("{:032x}.part", u128::from_le_bytes(name)));
        let (pieces, received) = mpsc::channel(4);
        let written = tokio::task::spawn_blocking(move || write(path, received));

        let mut body = std::pin::pin!(body);
        let mut size = 0_u64;
        let mut open = true;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| Error::Interrupted(error.into()))?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(Error::TooLarge { limit });
            }
            open = pieces.send(Piece::Bytes(chunk)).await.is_ok();
            if !open {
                break; // the disk failed; the thread's answer says how
            }
        }
        if open {
            let _ = pieces.send(Piece::End).await; // likewise
        }
        drop(pieces);
        match written.await?? {
            Some(spooled) => Ok(spooled),
            None => Err(Error::Interrupted("the upload was given up".into())),
        }
    }

    /// Removes temporary files that nobody has written to since this time; how many.
    pub(crate) async fn sweep_temporary(&self, before: Timestamp) -> Result<u64> {
        let folder = self.temporary.clone();
        Ok(tokio::task::spawn_blocking(move || sweep(&folder, before)).await??)
    }
}

/// On a thread of its own, because each write may wait for the disk, and hashing for the processor.
fn write(path: PathBuf, mut pieces: mpsc::Receiver<Piece>) -> io::Result<Option<Spooled>> {
    let locked = create(&path)?;
    let temporary = Temporary(path);
    let mut out = BufWriter::with_capacity(BUFFER, &locked);
    let mut hasher = Sha256::new();
    let mut head = Vec::new();
    let mut size = 0;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                head.extend_from_slice(&bytes[..bytes.len().min(HEAD - head.len())]);
                hasher.update(&bytes);
                out.write_all(&bytes)?;
                size += bytes.len() as u64;
            }
            Piece::End => {
                out.flush()?;
                drop(out);
                let hash = Hash::from_hasher(hasher);
                return Ok(Some(Spooled { file: temporary, _locked: locked, hash, size, head }));
            }
        }
    }
    Ok(None)
}

/// A new file under a lock. If a collector came between the two, it took the file away: then another one.
fn create(path: &Path) -> io::Result<File> {
    loop {
        let file = File::options().write(true).create_new(true).open(path)?;
        match file.lock() {
            // Without locks, the age of a file has to tell.
            Err(error) if error.kind() != ErrorKind::Unsupported => return Err(error),
            _ if fs::exists(path)? => return Ok(file),
            _ => {}
        }
    }
}

impl Spooled {
    pub(crate) fn path(&self) -> &Path {
        &self.file.0
    }

    /// All of it.
    pub(crate) async fn bytes(&self) -> Result<Bytes> {
        let path = self.path().to_owned();
        Ok(tokio::task::spawn_blocking(move || fs::read(path)).await??.into())
    }

    /// At most this many bytes from here on.
    pub(crate) async fn part(&self, offset: u64, most: usize) -> Result<Bytes> {
        let path = self.path().to_owned();
        let read = move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::with_capacity(most);
            file.take(most as u64).read_to_end(&mut bytes)?;
            if bytes.is_empty() { Err(io::Error::from(ErrorKind::UnexpectedEof)) } else { Ok(bytes) }
        };
        Ok(tokio::task::spawn_blocking(read).await??.into())
    }
}

/// Gives a complete file its name for good: its bytes reach the disk first, then the name does.
///
/// A link and not a rename, because it leaves what is already there alone, and keeps the temporary name for another try.
pub(super) fn link(source: &Path, size: u64, target: &Path, root: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(root);
    File::open(source)?.sync_all()?;
    make_folders(folder, root)?;
    match fs::hard_link(source, target) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if fs::metadata(target)?.len() != size {
                replace(source, target)?; // damaged: the right bytes are at hand
            }
        }
        // A file system without links.
        Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            replace(source, target)?;
        }
        Err(error) => return Err(error),
    }
    // Also where somebody else made the name: he may not have come to this line yet.
    sync_folder(folder)
}

fn replace(source: &Path, target: &Path) -> io::Result<()> {
    let beside = source.with_extension("copy");
    fs::copy(source, &beside)?;
    let copy = Temporary(beside);
    File::open(&copy.0)?.sync_all()?;
    fs::rename(&copy.0, target)
}

/// Makes a folder and those above it, each durable in the one above.
fn make_folders(folder: &Path, root: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && folder != root => {
            make_folders(folder.parent().unwrap_or(root), root)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Err(error) => return Err(error),
    }
    sync_folder(folder.parent().unwrap_or(root))
}

#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened to be synced; the file system's journal has to do.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

fn sweep(folder: &Path, before: Timestamp) -> io::Result<u64> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let modified = match entry.metadata().and_then(|metadata| metadata.modified()) {
            Ok(modified) => modified.duration_since(UNIX_EPOCH).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // finished meanwhile
            Err(error) => return Err(error),
        };
        let modified = Timestamp::from_millis(i64::try_from(modified.as_millis()).unwrap_or(i64::MAX));
        if modified > before {
            continue;
        }
        // However slow it is, an upload under way keeps its file.
        let file = match File::open(entry.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}
