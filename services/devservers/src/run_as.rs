//! PostgreSQL refuses to run as root; this is how it is run all the same.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User};

use crate::{Error, secrets};

/// Where the cluster is, if not in the folder.
const ELSEWHERE: &str = "postgres.elsewhere";

pub fn elsewhere(dir: &Path) -> Option<PathBuf> {
    fs::read(dir.join(ELSEWHERE)).ok().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(&path)))
}

/// As whom PostgreSQL runs.
#[derive(Debug)]
pub enum RunAs {
    /// As whoever runs this.
    Self_,
    /// As root outside, and as nobody in a user namespace of its own: works under folders that only root reads.
    Namespace,
    /// As another user, with its data where that user can reach it.
    Other { uid: Uid, gid: Gid },
}

impl RunAs {
    pub fn choose(dir: &Path) -> Result<Self, Error> {
        if !Uid::effective().is_root() {
            return Ok(Self::Self_);
        }
        // A cluster that was made one way is run that way.
        if elsewhere(dir).is_none() && succeeds(namespace().arg("true")) {
            return Ok(Self::Namespace);
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self::Other { uid: user.uid, gid: user.gid })
            .ok_or(Error::OnlyRoot)
    }

    /// Where the cluster goes.
    pub fn data_dir(&self, dir: &Path) -> Result<PathBuf, Error> {
        let Self::Other { uid, gid } = self else {
            return Ok(dir.join("postgres"));
        };
        // The project may lie in root's home: the cluster goes where everybody may pass.
        let home = match elsewhere(dir) {
            Some(home) => home,
            None => {
                let home = PathBuf::from(format!("/var/tmp/gatehouse-{}", &secrets::random_hex()?[..12]));
                let note = dir.join(ELSEWHERE);
                fs::write(&note, home.as_os_str().as_bytes()).map_err(|source| Error::File {
                    what: "write",
                    path: note,
                    source,
                })?;
                home
            }
        };
        make_owned(&home, *uid, *gid)?;
        Ok(home.join("postgres"))
    }

    pub fn make_dir(&self, dir: &Path) -> Result<(), Error> {
        match self {
            Self::Other { uid, gid } => make_owned(dir, *uid, *gid),
            Self::Self_ | Self::Namespace => fs::create_dir_all(dir).map_err(|source| Error::File {
                what: "make",
                path: dir.to_owned(),
                source,
            }),
        }
    }

    /// A file that PostgreSQL's programs can read, and nobody else.
    pub fn private_file(&self, path: &Path, text: &str) -> Result<PathBuf, Error> {
        secrets::write_private(path, text)?;
        if let Self::Other { uid, gid } = self {
            give(path, *uid, *gid)?;
        }
        Ok(path.to_owned())
    }

    /// The program, run as it has to be; sent the signal when the parent is gone.
    pub fn command(&self, program: &Path, signal_of_death: Option<&str>) -> Command {
        let mut command = match self {
            Self::Self_ => Command::new("env"),
            Self::Namespace => namespace(),
            Self::Other { uid, gid } => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
                command
            }
        };
        // The last step before the program: a change of user or namespace would forget it.
        if let Some(signal) = signal_of_death {
            command.args(["setpriv", "--pdeathsig", signal]);
        }
        command.arg(program);
        command
    }
}

/// A command that sends itself the signal when its parent dies; add the program and its arguments.
pub fn dies_with_parent(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534"]);
    command
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn make_owned(dir: &Path, uid: Uid, gid: Gid) -> Result<(), Error> {
    let make = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        chown(dir, Some(uid.as_raw()), Some(gid.as_raw()))
    };
    make().map_err(|source| Error::File { what: "make", path: dir.to_owned(), source })
}

fn give(path: &Path, uid: Uid, gid: Gid) -> Result<(), Error> {
    chown(path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|source| Error::File {
        what: "hand over",
        path: path.to_owned(),
        source,
    })
}
