//! What a process does.

/// The roles of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    pub dashboard: bool,
    pub nac: bool,
    pub sync: bool,
}

impl Roles {
    pub const ALL: Self = Self { dashboard: true, nac: true, sync: true };
}

/// One role, or all: `--role`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The dashboard for people.
    Dashboard,
    /// The API for NAC edge devices.
    Nac,
    /// The workers that keep fleets fresh and plan Changes of Authorization.
    Sync,
    /// All of them in one process.
    All,
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), |mut sum, role| {
            match role {
                Role::Dashboard => sum.dashboard = true,
                Role::Nac => sum.nac = true,
                Role::Sync => sum.sync = true,
                Role::All => sum = Self::ALL,
            }
            sum
        })
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = [(self.dashboard, "dashboard"), (self.nac, "nac"), (self.sync, "sync")];
        let names: Vec<_> = named.into_iter().filter_map(|(has, name)| has.then_some(name)).collect();
        f.write_str(&names.join("+"))
    }
}
