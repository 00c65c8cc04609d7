//! The last good document, kept in a small emptyDir in memory: it outlives the container, not the Pod.

use mesh_config::names;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where it is kept.
#[derive(Debug)]
pub struct State {
    file: PathBuf,
}

impl State {
    pub fn new(directory: &Path) -> State {
        State { file: directory.join(format!("last-good.{}", names::KEY_PROXY_V1)) }
    }

    /// The document and its hash, if there is one.
    pub fn load(&self) -> Option<(Vec<u8>, String)> {
        let bytes = fs::read(&self.file).ok()?;
        let hash = mesh_config::hash(&bytes);
        Some((bytes, hash))
    }

    /// Whole or not at all: a process that dies halfway leaves the one before.
    pub fn save(&self, bytes: &[u8]) -> io::Result<()> {
        let half = self.file.with_extension("new");
        fs::write(&half, bytes)?;
        fs::rename(&half, &self.file)
    }
}
