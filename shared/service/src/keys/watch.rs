//! Following the keys' file while running.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{ApiKeys, KeyFileError, Table, file};

/// What changes when a file is edited in place, replaced, remounted by Kubernetes (which swaps a symbolic link), or made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
    /// Owner, group and mode.
    access: (u32, u32, u32),
}

impl ApiKeys {
    /// Looks at the file every `interval` and takes a new version as it is found; for ever. A broken or missing file
    /// changes nothing but the log: a slip of an editor must not lock a shop out.
    pub async fn follow(&self, interval: Duration) {
        // What was loaded may be older than this look, so the first round reads it again.
        let mut seen: Option<Option<Stamp>> = None;
        loop {
            let stamp = Some(stamp(&self.path).await);
            if stamp != seen
                && let Err(error) = self.reload().await
            {
                tracing::error!(error = %chain(&error), "the API keys in use stay the old ones");
            }
            seen = stamp;
            tokio::time::sleep(interval).await;
        }
    }

    async fn reload(&self) -> Result<(), KeyFileError> {
        let text = tokio::fs::read_to_string(self.path.as_path())
            .await
            .map_err(|source| file::io_error(&self.path, source))?;
        let table = Table::new(file::parse(&self.path, &text)?);
        let old = self.table.load();
        if table.by_hash != old.by_hash {
            tracing::info!(keys.count = table.by_hash.len(), "the API keys were reloaded");
            self.table.store(Arc::new(table));
        }
        Ok(())
    }
}

async fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = tokio::fs::metadata(path).await.ok()?;
    let access = (metadata.uid(), metadata.gid(), metadata.mode());
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino(), access })
}

fn chain(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_made_readable_is_looked_at_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = stamp(file.path()).await;
        fs::set_permissions(file.path(), Permissions::from_mode(0o640)).unwrap();
        assert_ne!(stamp(file.path()).await, before);
    }
}
