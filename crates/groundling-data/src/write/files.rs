//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::WriteError;

/// A file under a temporary name in its own folder, renamed by [`WholeFile::finish`]. Dropped before that, it is removed
/// again and whatever stood at its place stays.
#[derive(Debug)]
pub(crate) struct WholeFile {
    path: PathBuf,
    partial: PathBuf,
    sink: Option<BufWriter<File>>,
}

impl WholeFile {
    /// Starts a file, making its folder if there is none.
    pub(crate) fn create(path: &Path) -> Result<Self, WriteError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let open = || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            File::create(&partial)
        };
        let sink = open().map_err(|source| WriteError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), partial, sink: Some(BufWriter::with_capacity(1 << 16, sink)) })
    }

    /// Runs a writing step and names the file if it fails.
    pub(crate) fn with<T>(
        &mut self,
        step: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
    ) -> Result<T, WriteError> {
        let sink = self.sink.as_mut().expect("the sink leaves only with self");
        step(sink).map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }

    /// Writes one JSON value.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<(), WriteError> {
        self.with(|sink| serde_json::to_writer(sink, value).map_err(io::Error::from))
    }

    /// Puts the file at its place.
    pub(crate) fn finish(mut self) -> Result<(), WriteError> {
        let sink = self.sink.take().expect("the sink leaves only with self");
        let close = || {
            sink.into_inner().map_err(io::IntoInnerError::into_error)?;
            fs::rename(&self.partial, &self.path)
        };
        close().map_err(|source| WriteError::Io { path: self.path.clone(), source })
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove; a failure to clean up must not hide the first error.
        let _ = fs::remove_file(&self.partial);
    }
}

/// Writes bytes to a file that appears whole.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = WholeFile::create(path)?;
    file.with(|sink| sink.write_all(bytes))?;
    file.finish()
}

/// A relative path that stays below its root: plain components only.
pub(crate) fn checked_name(name: &str) -> Result<&str, WriteError> {
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    if name.split('/').all(plain) { Ok(name) } else { Err(WriteError::BadName { found: name.to_owned() }) }
}
