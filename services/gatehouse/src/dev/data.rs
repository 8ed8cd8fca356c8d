//! `.data/`: everything that `./dev up` keeps.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use devservers::{remembered_port, remembered_secret, write_private};
use secrecy::{ExposeSecret as _, SecretString};

/// The folder, held by one process at a time.
#[derive(Debug)]
pub struct Data {
    dir: PathBuf,
    /// Held as long as this lives.
    _lock: File,
}

impl Data {
    /// Takes the folder. `None`: another process holds it.
    pub fn open(dir: &Path) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(dir.join("log"))
            .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        fs::create_dir_all(dir.join("ports"))?;
        fs::create_dir_all(dir.join("secrets"))?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", dir.display()),
        }
        fs::write(dir.join("supervisor.pid"), std::process::id().to_string())?;
        Ok(Some(Self { dir, _lock: lock }))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// A port of localhost: the one of the last time, else the preferred one, else any.
    pub fn port(&self, name: &str, preferred: u16) -> anyhow::Result<u16> {
        Ok(remembered_port(&self.dir.join("ports").join(name), Some(preferred))?)
    }

    /// A password, made at the first time.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        Ok(remembered_secret(&self.dir.join("secrets").join(name))?)
    }

    /// What was kept under the name before, if anything.
    pub fn recall(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir.join("secrets").join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Keeps a text for the next time; only the owner can read it.
    pub fn keep(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(write_private(&self.dir.join("secrets").join(name), text)?)
    }

    /// The file of the master key, made at the first time; only the owner can read it.
    pub fn master_key(&self) -> anyhow::Result<PathBuf> {
        self.key_file("master.key", &sealing::MasterKeys::generate()?)
    }

    /// The same of the key of remediation pages.
    pub fn remediation_key(&self) -> anyhow::Result<PathBuf> {
        self.key_file("remediation.key", &sealing::PageKeys::generate()?)
    }

    fn key_file(&self, name: &str, fresh: &SecretString) -> anyhow::Result<PathBuf> {
        if self.recall(name).is_none() {
            self.keep(name, fresh.expose_secret())?;
        }
        Ok(self.dir.join("secrets").join(name))
    }

    /// Replaces a file that only the owner can read.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        write_private(&path, text)?;
        Ok(path)
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path("supervisor.pid"));
    }
}
