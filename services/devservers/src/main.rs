//! Runs a command beside a PostgreSQL and a Redis of its own, which live as long as the command.
//!
//! `devservers <folder> <command> …` — the folder is emptied first and removed afterwards. The command finds
//! `GATEHOUSE_TEST_DATABASE_URL` (superuser) and `GATEHOUSE_TEST_REDIS_URL` in its environment.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use devservers::{Durability, Error, Servers};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(30);

#[expect(clippy::print_stderr, reason = "a command for people")]
fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let (Some(dir), Some(program)) = (args.next(), args.next()) else {
        eprintln!("usage: devservers <folder> <command> [arguments]");
        return ExitCode::from(2);
    };
    let mut command = Command::new(program);
    command.args(args);
    match run(&PathBuf::from(dir), &mut command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("devservers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path, command: &mut Command) -> Result<ExitCode, Error> {
    let _ = fs::remove_dir_all(dir);
    let servers = Servers::prepare(dir, Durability::Scratch)?;
    let started = [
        Running::start("postgres", servers.postgres(), Signal::SIGINT, dir)?,
        Running::start("redis", servers.redis(), Signal::SIGTERM, dir)?,
    ];
    servers.wait_ready(dir, PATIENCE)?;
    let status = command
        .env("GATEHOUSE_TEST_DATABASE_URL", servers.superuser_url())
        .env("GATEHOUSE_TEST_REDIS_URL", servers.redis_url())
        .status()
        .map_err(|source| Error::Run { program: command.get_program().display().to_string(), source })?;
    drop(started);
    servers.forget();
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// A server that is stopped when this is dropped.
struct Running {
    child: Child,
    signal: Signal,
}

impl Running {
    fn start(
        name: &'static str,
        mut command: Command,
        signal: Signal,
        log_dir: &Path,
    ) -> Result<Self, Error> {
        use std::os::unix::process::CommandExt as _;
        let path = log_dir.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&path);
        let (out, err) = open()
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|source| Error::File { what: "write", path: path.clone(), source })?;
        // A group of its own, so that Ctrl-C in the terminal stops the command first.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|source| Error::Run { program: name.to_owned(), source })?;
        Ok(Self { child, signal })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), self.signal);
        }
        let _ = self.child.wait();
    }
}
