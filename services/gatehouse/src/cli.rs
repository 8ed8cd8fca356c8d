//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Sources};
use crate::dev::DevArgs;
use crate::roles::Role;

/// Gatehouse: network access control from device compliance.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one role, or several, until SIGTERM.
    Serve {
        /// Repeat it for several.
        #[arg(long, required = true, value_delimiter = ',')]
        role: Vec<Role>,
        #[command(flatten)]
        settings: SettingArgs,
    },
    /// Bring the schema up to date, as its owner (GATEHOUSE_OWNER_DATABASE_URL).
    Migrate {
        #[command(flatten)]
        settings: SettingArgs,
    },
    /// Run the agent beside a FreeRADIUS, until SIGTERM. It needs no database.
    Edge {
        /// The agent's own file (TOML): where the cloud is, and the NASes of the site.
        #[arg(
            long,
            env = "GATEHOUSE_EDGE_CONFIG",
            value_name = "FILE",
            default_value = "/etc/gatehouse/edge.toml"
        )]
        config: PathBuf,
        /// Only check the file.
        #[arg(long)]
        check: bool,
        /// Which log lines are written, in the form of RUST_LOG.
        #[arg(long, env = "GATEHOUSE_LOG_FILTER", default_value = "info,hyper=warn")]
        log_filter: String,
    },
    /// About the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// The key that protects credentials of organizations (GATEHOUSE_MASTER_KEY).
    MasterKey {
        #[command(subcommand)]
        command: MasterKeyCommand,
    },
    /// The key that protects the addresses of clients' remediation pages (GATEHOUSE_REMEDIATION_KEY).
    RemediationKey {
        #[command(subcommand)]
        command: RemediationKeyCommand,
    },
    /// Run everything on this machine, with servers of its own and a demo organization.
    Dev(DevArgs),
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check it, and print what holds, without secrets.
    Check {
        #[arg(long, default_value = "all", value_delimiter = ',')]
        role: Vec<Role>,
        #[command(flatten)]
        settings: SettingArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum MasterKeyCommand {
    /// Print a new one.
    New,
    /// Wrap every organization's keys with the first key of GATEHOUSE_MASTER_KEY, after which the others can go.
    /// Needs GATEHOUSE_DATABASE_URL; every process must know the new key before.
    Rotate {
        #[command(flatten)]
        settings: SettingArgs,
    },
}

#[derive(Debug, Subcommand)]
pub enum RemediationKeyCommand {
    /// Print a new one.
    New,
}

/// Settings come from GATEHOUSE_… variables, from a file of such lines, and from flags; the last wins.
#[derive(Debug, Args)]
pub struct SettingArgs {
    /// A file of NAME=value lines.
    #[arg(long, env = "GATEHOUSE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, as in --set NAC_LISTEN=0.0.0.0:8401; repeatable.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl SettingArgs {
    pub fn sources(&self) -> Result<Sources, ConfigError> {
        Sources::read(self.config.as_deref(), &self.set)
    }
}
