//! Transforms that were made, on the local disk: the ones used last, up to a number of bytes.
//!
//! A file is `<hash of the original>/<hash of the parameters>.<type>`, so that all that was made of an original can go
//! with it. Which files there are is known in memory; a file that is gone is simply made anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::Result;
use crate::hash::Hash;

/// What is kept under which name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    original: Hash,
    parameters: Hash,
}

impl Slot {
    pub(crate) fn new(original: Hash, canonical: &str) -> Self {
        Self { original, parameters: Hash::of(canonical.as_bytes()) }
    }

    fn path(&self, folder: &Path, mime: &str) -> PathBuf {
        let name = format!("{:.32}.{}", self.parameters, mime.replace('/', "_"));
        folder.join(self.original.to_string()).join(name)
    }
}

/// A result with its type.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) mime: String,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    most: u64,
    index: Mutex<Index>,
}

/// What is on the disk, by name and by when it was last used. Names are those of the files, which is what a start reads.
#[derive(Debug, Default)]
struct Index {
    entries: HashMap<PathBuf, Entry>,
    by_use: BTreeMap<u64, PathBuf>,
    bytes: u64,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    used: u64,
}

impl Index {
    fn touch(&mut self, path: &Path) -> bool {
        self.uses += 1;
        let Some(entry) = self.entries.get_mut(path) else { return false };
        self.by_use.remove(&entry.used);
        entry.used = self.uses;
        self.by_use.insert(self.uses, path.to_owned());
        true
    }

    fn add(&mut self, path: PathBuf, size: u64) {
        self.remove(&path);
        self.uses += 1;
        self.by_use.insert(self.uses, path.clone());
        self.entries.insert(path, Entry { size, used: self.uses });
        self.bytes += size;
    }

    fn remove(&mut self, path: &Path) {
        if let Some(entry) = self.entries.remove(path) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.size;
        }
    }

    /// Forgets what was not used for the longest time, until the rest is within the limit.
    fn shrink(&mut self, most: u64) -> Vec<PathBuf> {
        let mut gone = Vec::new();
        while self.bytes > most {
            let Some((_, path)) = self.by_use.first_key_value() else { break };
            let path = path.clone();
            self.remove(&path);
            gone.push(path);
        }
        gone
    }
}

impl Cache {
    pub(crate) async fn open(folder: PathBuf, most: u64) -> Result<Self> {
        let found = folder.clone();
        let (index, gone) = tokio::task::spawn_blocking(move || {
            fs::create_dir_all(&found)?;
            let mut index = Index::default();
            for (_, path, size) in scan(&found)? {
                index.add(path, size);
            }
            let gone = index.shrink(most);
            Ok::<_, std::io::Error>((index, gone))
        })
        .await??;
        let cache = Self { folder, most, index: Mutex::new(index) };
        cache.unlink(gone).await?;
        Ok(cache)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was made before.
    pub(crate) async fn get(&self, slot: &Slot, mime: &str) -> Result<Option<Made>> {
        let path = slot.path(&self.folder, mime);
        if !self.index().touch(&path) {
            return Ok(None);
        }
        let read = path.clone();
        match tokio::task::spawn_blocking(move || fs::read(read)).await? {
            Ok(bytes) => Ok(Some(Made { mime: mime.to_owned(), bytes: bytes.into() })),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::warn!(error = %error, "media.cache.unreadable"); // it is made anew
                }
                self.index().remove(&path);
                Ok(None)
            }
        }
    }

    /// Keeps a result; without room for it, nothing else is lost.
    pub(crate) async fn put(&self, slot: &Slot, made: &Made) -> Result<()> {
        let size = made.bytes.len() as u64;
        if size > self.most {
            return Ok(());
        }
        let path = slot.path(&self.folder, &made.mime);
        let (target, bytes) = (path.clone(), made.bytes.clone());
        tokio::task::spawn_blocking(move || write(&target, &bytes)).await??;
        let gone = {
            let mut index = self.index();
            index.add(path, size);
            index.shrink(self.most)
        };
        self.unlink(gone).await
    }

    /// The originals of which something is kept.
    pub(crate) fn originals(&self) -> Vec<Hash> {
        let index = self.index();
        let folders: HashSet<&str> =
            index.entries.keys().filter_map(|path| path.parent()?.file_name()?.to_str()).collect();
        folders.into_iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Removes all that was made of an original; how many.
    pub(crate) async fn forget(&self, original: &Hash) -> Result<u64> {
        let folder = self.folder.join(original.to_string());
        let gone: Vec<PathBuf> = {
            let mut index = self.index();
            let gone: Vec<PathBuf> = index.entries.keys().filter(|path| path.starts_with(&folder)).cloned().collect();
            for path in &gone {
                index.remove(path);
            }
            gone
        };
        let count = gone.len() as u64;
        self.unlink(gone).await?;
        Ok(count)
    }

    async fn unlink(&self, paths: Vec<PathBuf>) -> Result<()> {
        if paths.is_empty() {
            return Ok(());
        }
        let unlink = move || {
            for path in paths {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                if let Some(folder) = path.parent() {
                    let _ = fs::remove_dir(folder); // fails while there is more in it
                }
            }
            Ok(())
        };
        Ok(tokio::task::spawn_blocking(unlink).await??)
    }
}

/// All files with their sizes, the oldest first. What was being written when the process ended is removed.
fn scan(folder: &Path) -> std::io::Result<Vec<(SystemTime, PathBuf, u64)>> {
    let mut found = Vec::new();
    for original in fs::read_dir(folder)? {
        let original = original?.path();
        if !original.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&original)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(&path)?;
            } else {
                found.push((metadata.modified()?, path, metadata.len()));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Written beside and renamed, so that a name never stands for half a file.
fn write(target: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = target.parent().unwrap_or(target);
    let beside = target.with_extension("part");
    // The folder may go between the two steps, when what else is in it is forgotten.
    let mut file = loop {
        fs::create_dir_all(folder)?;
        match fs::File::create(&beside) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => break other?,
        }
    };
    let written = file.write_all(bytes).and_then(|()| file.sync_data()).and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // the next start would
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(size: usize) -> Made {
        Made { mime: "image/webp".to_owned(), bytes: vec![7; size].into() }
    }

    #[tokio::test]
    async fn what_was_not_used_for_the_longest_time_goes_first_also_after_a_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::open(folder.path().to_owned(), 250).await.expect("opens");
        let slot = |number: usize| Slot::new(Hash::of(b"original"), &format!("w={number}"));
        for number in 0..2 {
            cache.put(&slot(number), &made(100)).await.expect("kept");
        }
        assert!(cache.get(&slot(0), "image/webp").await.expect("read").is_some());
        cache.put(&slot(2), &made(100)).await.expect("kept");
        assert!(cache.get(&slot(1), "image/webp").await.expect("read").is_none(), "used before the others");
        assert!(cache.get(&slot(0), "image/webp").await.expect("read").is_some());
        cache.put(&slot(9), &made(251)).await.expect("not kept");
        assert!(cache.get(&slot(9), "image/webp").await.expect("read").is_none());

        let again = Cache::open(folder.path().to_owned(), 250).await.expect("opens");
        assert_eq!(again.get(&slot(2), "image/webp").await.expect("read").expect("there").bytes.len(), 100);
        assert_eq!(again.originals(), [Hash::of(b"original")]);
        assert_eq!(again.forget(&Hash::of(b"original")).await.expect("removed"), 2);
        assert!(again.get(&slot(2), "image/webp").await.expect("read").is_none());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is left");
    }
}
