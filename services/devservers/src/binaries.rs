//! Where the servers' programs are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Names the folder with `postgres` and `initdb`.
const POSTGRES_BIN: &str = "GATEHOUSE_POSTGRES_BIN";
/// Names the program `redis-server`.
const REDIS_SERVER: &str = "GATEHOUSE_REDIS_SERVER";

/// The programs: named by the environment, else Debian's newest, else those on PATH.
#[derive(Debug, Clone)]
pub struct Binaries {
    postgres_bin: PathBuf,
    pub(crate) redis_server: PathBuf,
}

impl Binaries {
    pub fn find() -> Result<Self, Error> {
        let postgres_bin = env::var_os(POSTGRES_BIN)
            .map(PathBuf::from)
            .or_else(debian_postgres)
            .or_else(|| on_path("postgres").and_then(|program| program.parent().map(Path::to_owned)))
            .filter(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file())
            .ok_or(Error::Missing { what: "PostgreSQL", variable: POSTGRES_BIN })?;
        let redis_server = env::var_os(REDIS_SERVER)
            .map(PathBuf::from)
            .or_else(|| on_path("redis-server"))
            .filter(|program| program.is_file())
            .ok_or(Error::Missing { what: "redis-server", variable: REDIS_SERVER })?;
        Ok(Self { postgres_bin, redis_server })
    }

    /// One of PostgreSQL's programs.
    #[must_use]
    pub fn postgres(&self, program: &str) -> PathBuf {
        self.postgres_bin.join(program)
    }

    /// For example `15`, as a cluster's `PG_VERSION` has it.
    pub fn postgres_major(&self) -> Result<String, Error> {
        let program = self.postgres("postgres");
        let output = Command::new(&program)
            .arg("--version")
            .output()
            .map_err(|source| Error::Run { program: program.display().to_string(), source })?;
        let text = String::from_utf8_lossy(&output.stdout);
        // postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        let version = text.split_whitespace().nth(2).unwrap_or_default();
        Ok(version.chars().take_while(char::is_ascii_digit).collect())
    }
}

fn debian_postgres() -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().ok()?;
    versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("postgres").is_file().then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|file| file.is_file())
}
