//! Files that verbs edit while processes read them: of keys and operators.
//!
//! Two editors do not undo each other, a reader sees the old file or the new one, and whoever may read the old one may read the new
//! one: a key that root revokes would else go on in a service that runs as another user.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Held while the file is edited. Beside the file, because the file itself is replaced; and its owner's, who edits it next.
///
/// # Errors
/// The file system's, with the lock's name; or [`replace`]'s, where the file's owner could not be kept.
pub fn lock(path: &Path) -> io::Result<File> {
    let lock = beside(path);
    let open = || -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock)?;
        if let Some(old) = there(path)?
            && is_at(&file, &lock)?
            && let Err(error) = leave_to(&file, &old)
        {
            // It is this user's, and would keep the owner out.
            let _ = fs::remove_file(&lock);
            return Err(error);
        }
        file.lock()?;
        Ok(file)
    };
    open().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", lock.display())))
}

/// Replaces the file, or makes it (readable by its owner alone) where there is none. A reader sees the old text or the new one,
/// after a power cut too: written aside, synced, renamed, directory synced. Owner, group and mode stay.
///
/// # Errors
/// The file system's, and `PermissionDenied` with what to do where this user can't leave the file to its owner; the file is then as
/// it was.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Under a name that nobody can guess, so that root writes through no link of another user's; readable by its owner alone.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    if let Some(old) = there(path)? {
        leave_to(file.as_file(), &old)?;
        file.as_file().set_permissions(old.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|refused| refused.error)?;
    File::open(folder)?.sync_all()
}

fn there(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this file itself is at `path`: root gives away nothing that a link leads to.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok(opened.nlink() == 1 && (opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Gives the file to whom `old` belongs.
fn leave_to(file: &File, old: &Metadata) -> io::Result<()> {
    let (uid, gid) = (old.uid(), old.gid());
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (uid, gid) {
        return Ok(());
    }
    fchown(file, Some(uid), Some(gid)).map_err(|error| {
        let told = format!(
            "it is user {uid}'s, of group {gid}, and has to stay so: run this as that user or as root ({error})"
        );
        io::Error::new(error.kind(), told)
    })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    /// A file and whose it is: another user's where the tests run as root, for nobody else can give one away.
    fn of_another(folder: &Path) -> (PathBuf, (u32, u32)) {
        let path = folder.join("keys.toml");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (uid, gid) = owner(&path);
        let other = if uid == 0 { (12_345, 54_321) } else { (uid, gid) };
        chown(&path, Some(other.0), Some(other.1)).unwrap();
        (path, other)
    }

    fn owner(path: &Path) -> (u32, u32) {
        let metadata = fs::metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    #[test]
    fn a_file_that_root_edits_stays_its_owners_and_so_does_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = of_another(folder.path());
        drop(lock(&path).unwrap());
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!((owner(&path), owner(&beside(&path))), (other, other));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&beside(&path))), (0o640, 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left aside");
    }

    #[test]
    fn what_a_link_in_the_locks_place_leads_to_is_not_given_away() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = of_another(folder.path());
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        let ours = owner(&elsewhere);
        symlink(&elsewhere, beside(&path)).unwrap();
        drop(lock(&path).unwrap());
        assert_eq!(owner(&elsewhere), ours);
    }
}
