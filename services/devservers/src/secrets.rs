//! Passwords, and files that only their owner reads.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Error;

pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// 192 random bits as hexadecimal digits, which need no escaping anywhere.
pub fn random_hex() -> Result<String, Error> {
    let bytes = random_bytes::<24>().map_err(|source| Error::File {
        what: "read",
        path: "/dev/urandom".into(),
        source,
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Replaces the file in one step; only its owner can read it.
pub fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|source| Error::File { what: "write", path: path.to_owned(), source })
}

/// The secret in the file; made and written at the first time.
pub fn remembered_secret(file: &Path) -> Result<String, Error> {
    if let Ok(secret) = fs::read_to_string(file)
        && !secret.trim().is_empty()
    {
        return Ok(secret.trim().to_owned());
    }
    let secret = random_hex()?;
    write_private(file, &secret)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let secret = remembered_secret(&file).unwrap();
        assert_eq!(secret.len(), 48);
        assert_eq!(remembered_secret(&file).unwrap(), secret);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
