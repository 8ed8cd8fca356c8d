//! A private PostgreSQL and a private Redis for development and tests: real servers, on free ports of localhost,
//! with all that they keep in one folder.
//!
//! Never touches a server that already runs. The children die with the thread that started them, so start them
//! from the main thread. It must not depend on sqlx, directly or not: it also serves the database against which
//! sqlx's offline data is made.

mod binaries;
mod ports;
mod run_as;
mod secrets;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use binaries::Binaries;
pub use ports::{free_port, is_free, remembered_port};
use run_as::RunAs;
pub use run_as::dies_with_parent;
pub use secrets::{random_hex, remembered_secret, write_private};

/// Why the servers could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{what} is not installed. Install it (Debian: apt-get install postgresql redis-server), or name it with {variable}"
    )]
    Missing { what: &'static str, variable: &'static str },
    #[error("cannot {what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot run {program}: {source}")]
    Run { program: String, source: std::io::Error },
    #[error("psql failed: {0}")]
    Sql(String),
    #[error("initdb failed:\n{0}")]
    InitDb(String),
    #[error(
        "{dir} holds data of PostgreSQL {found}, but the installed one is {installed}: install PostgreSQL {found} \
         again, or forget the data with ./dev down --purge"
    )]
    OtherVersion { dir: PathBuf, found: String, installed: String },
    #[error(
        "PostgreSQL refuses to run as root, user namespaces are off here and neither user `postgres` nor `nobody` \
         exists: run ./dev as another user"
    )]
    OnlyRoot,
    #[error("{server} did not become ready within {seconds} s; its log is {log}")]
    NotReady { server: &'static str, seconds: u64, log: PathBuf },
}

/// What the data is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Kept over restarts, and over a crash of the machine.
    Kept,
    /// Of one test run: nothing is synced to the disk.
    Scratch,
}

/// Both servers, prepared but not started.
#[derive(Debug)]
pub struct Servers {
    dir: PathBuf,
    binaries: Binaries,
    run_as: RunAs,
    durability: Durability,
    postgres_dir: PathBuf,
    postgres_port: u16,
    postgres_password: String,
    redis_port: u16,
    redis_password: String,
}

impl Servers {
    /// Finds the programs, makes the PostgreSQL cluster in `dir` where there is none, and chooses ports: the ones
    /// of the last time where they are free.
    pub fn prepare(dir: &Path, durability: Durability) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::File {
            what: "make",
            path: dir.to_owned(),
            source,
        })?;
        let dir = &dir.canonicalize().map_err(|source| Error::File {
            what: "find",
            path: dir.to_owned(),
            source,
        })?;
        restrict(dir, 0o700)?;
        let binaries = Binaries::find()?;
        let run_as = RunAs::choose(dir)?;
        let postgres_dir = run_as.data_dir(dir)?;
        let remember = |name: &str| dir.join(name);
        let servers = Self {
            binaries,
            durability,
            postgres_port: remembered_port(&remember("postgres.port"), None)?,
            postgres_password: remembered_secret(&remember("postgres.password"))?,
            redis_port: remembered_port(&remember("redis.port"), None)?,
            redis_password: remembered_secret(&remember("redis.password"))?,
            postgres_dir,
            run_as,
            dir: dir.clone(),
        };
        servers.make_cluster()?;
        servers.configure_redis()?;
        Ok(servers)
    }

    /// The PostgreSQL of its superuser, `postgres`.
    #[must_use]
    pub fn superuser_url(&self) -> String {
        self.database_url("postgres", &self.postgres_password, "postgres")
    }

    /// The URL of any role and database. Passwords must need no escaping, as [`random_hex`] makes them.
    #[must_use]
    pub fn database_url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.postgres_port)
    }

    #[must_use]
    pub fn redis_url(&self) -> String {
        format!("redis://default:{}@127.0.0.1:{}", self.redis_password, self.redis_port)
    }

    /// Starts PostgreSQL when spawned. Stop it with SIGINT (fast shutdown).
    #[must_use]
    pub fn postgres(&self) -> Command {
        let mut command = self.run_as.command(&self.binaries.postgres("postgres"), Some("INT"));
        command.arg("-D").arg(&self.postgres_dir);
        let port = self.postgres_port.to_string();
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1"),
            ("port", port.as_str()),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
            ("jit", "off"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
        ];
        if self.durability == Durability::Scratch {
            settings.extend([("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")]);
        }
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    /// Starts Redis when spawned. Stop it with SIGTERM.
    #[must_use]
    pub fn redis(&self) -> Command {
        let mut command = dies_with_parent("TERM");
        command.arg(&self.binaries.redis_server).arg(self.redis_config());
        command
    }

    /// Runs SQL as the superuser; what psql said is in the error.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, Error> {
        let mut child = Command::new(self.binaries.postgres("psql"))
            .args([
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                "--file=-",
            ])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", self.postgres_port))
            .arg(format!("--dbname={database}"))
            .env("PGPASSWORD", &self.postgres_password)
            .env("PGOPTIONS", "--client-min-messages=warning")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Run { program: "psql".to_owned(), source })?;
        // Over stdin, because arguments can be read by everybody.
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(sql.as_bytes());
        }
        let output =
            child.wait_with_output().map_err(|source| Error::Run { program: "psql".to_owned(), source })?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(Error::Sql(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }

    /// Whether PostgreSQL takes connections.
    #[must_use]
    pub fn postgres_is_ready(&self) -> bool {
        Command::new(self.binaries.postgres("pg_isready"))
            .args(["--quiet", "--timeout=2", "--host=127.0.0.1", "--username=postgres", "--dbname=postgres"])
            .arg(format!("--port={}", self.postgres_port))
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Whether Redis answers.
    #[must_use]
    pub fn redis_is_ready(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.redis_port));
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(format!("AUTH {}\r\nPING\r\n", self.redis_password).as_bytes())?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(&answer == b"+OK\r\n+PONG\r\n")
        };
        ask().unwrap_or(false)
    }

    /// Waits until both answer. `log_dir` is named where they do not.
    pub fn wait_ready(&self, log_dir: &Path, patience: Duration) -> Result<(), Error> {
        let started = Instant::now();
        let checks: [(&str, &dyn Fn() -> bool); 2] =
            [("postgres", &|| self.postgres_is_ready()), ("redis", &|| self.redis_is_ready())];
        for (server, is_ready) in checks {
            while !is_ready() {
                if started.elapsed() > patience {
                    let log = log_dir.join(format!("{server}.log"));
                    return Err(Error::NotReady { server, seconds: patience.as_secs(), log });
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Removes all that they keep. Stop them before.
    pub fn forget(&self) {
        forget(&self.dir);
    }

    fn redis_config(&self) -> PathBuf {
        self.dir.join("redis.conf")
    }

    fn configure_redis(&self) -> Result<(), Error> {
        let data = self.dir.join("redis");
        fs::create_dir_all(&data).map_err(|source| Error::File {
            what: "make",
            path: data.clone(),
            source,
        })?;
        let keep = match self.durability {
            // Written before each answer, so that a killed Redis finds it again.
            Durability::Kept => "appendonly yes\nappendfsync everysec\n",
            Durability::Scratch => "appendonly no\n",
        };
        let text = format!(
            "bind 127.0.0.1\nport {}\nrequirepass {}\ndir \"{}\"\nsave \"\"\ndaemonize no\ndatabases 64\n{keep}",
            self.redis_port,
            self.redis_password,
            data.display()
        );
        write_private(&self.redis_config(), &text)
    }

    fn make_cluster(&self) -> Result<(), Error> {
        let installed = self.binaries.postgres_major()?;
        if let Ok(found) = fs::read_to_string(self.postgres_dir.join("PG_VERSION")) {
            let found = found.trim().to_owned();
            return if found == installed {
                Ok(())
            } else {
                Err(Error::OtherVersion { dir: self.postgres_dir.clone(), found, installed })
            };
        }
        // Whatever is there comes from an initdb that was interrupted.
        if self.postgres_dir.exists() {
            fs::remove_dir_all(&self.postgres_dir).map_err(|source| Error::File {
                what: "remove",
                path: self.postgres_dir.clone(),
                source,
            })?;
        }
        let half_made = self.postgres_dir.with_extension("new");
        let _ = fs::remove_dir_all(&half_made);
        self.run_as.make_dir(&half_made)?;
        let password_file =
            self.run_as.private_file(&half_made.with_extension("pw"), &self.postgres_password)?;
        let output = self
            .run_as
            .command(&self.binaries.postgres("initdb"), None)
            .arg("-D")
            .arg(&half_made)
            .args([
                "--no-sync",
                "--username=postgres",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .arg("--pwfile")
            .arg(&password_file)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| Error::Run { program: "initdb".to_owned(), source })?;
        let _ = fs::remove_file(&password_file);
        if !output.status.success() {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            return Err(Error::InitDb(text));
        }
        fs::rename(&half_made, &self.postgres_dir).map_err(|source| Error::File {
            what: "make",
            path: self.postgres_dir.clone(),
            source,
        })
    }
}

/// Removes a folder that [`Servers::prepare`] made, with the cluster wherever it is.
pub fn forget(dir: &Path) {
    if let Some(elsewhere) = run_as::elsewhere(dir) {
        let _ = fs::remove_dir_all(elsewhere);
    }
    let _ = fs::remove_dir_all(dir);
}

fn restrict(path: &Path, mode: u32) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|source| Error::File {
        what: "restrict",
        path: path.to_owned(),
        source,
    })
}
