//! A file system of a size that can be filled: a tmpfs, mounted by root, or through sudo where that asks for no password.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::process::Command;

const MIB: usize = 1 << 20;

/// A small file system. Its files are gone with it.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one at `path`; `None` where this process may not, which is then said in the report.
    pub(super) async fn mount(path: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(path).ok()?;
        let me = std::fs::metadata(path).ok()?;
        let options = format!("size={mib}m,uid={},gid={}", me.uid(), me.gid());
        let mount = as_root("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output().await;
        matches!(mount, Ok(output) if output.status.success()).then(|| Self { at: path.to_owned() })
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// Where the filler can't be made.
    pub async fn fill(&self) -> Result<()> {
        let path = self.filler();
        tokio::task::spawn_blocking(move || {
            let mut filler = std::fs::File::options().create(true).append(true).open(path)?;
            let zeros = vec![0; MIB];
            // In ever smaller pieces, until not one more byte fits.
            for piece in [MIB, 4_096, 1] {
                while filler.write_all(&zeros[..piece]).is_ok() {}
            }
            Ok(())
        })
        .await?
    }

    /// Frees it again.
    ///
    /// # Errors
    /// Where the filler can't be removed.
    pub fn free(&self) -> Result<()> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} can't be removed", self.filler().display()))
            }
            _ => Ok(()),
        }
    }

    /// Takes it away, whoever still has files on it.
    pub(super) async fn unmount(&self) {
        let _ = as_root("umount").arg("--lazy").arg(&self.at).status().await;
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

/// A command that takes root.
fn as_root(program: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    let mut command = Command::new(if root { program } else { "sudo" });
    if !root {
        command.args(["-n", program]);
    }
    command
}
