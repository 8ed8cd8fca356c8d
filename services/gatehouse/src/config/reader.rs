//! Settings by name: flags before environment before file before default. Every problem is found, not only the
//! first, and each names its key and what to do.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What every name begins with.
pub const PREFIX: &str = "GATEHOUSE_";

/// Something that a person has to change before the process can start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub key: String,
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:{}", list(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |mut text, problem| {
        let _ = write!(text, "\n  {problem}");
        text
    })
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
    /// A file that the `…_FILE` setting names.
    SecretFile,
    Default,
}

impl Origin {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::SecretFile => "secret file",
            Self::Default => "default",
        }
    }
}

/// Where a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    Text(SecretString),
    Files(Vec<PathBuf>),
}

/// One line of `gatehouse config check`.
#[derive(Clone, Debug)]
pub struct Effective {
    pub key: String,
    /// What to show: never a secret.
    pub shown: String,
    pub origin: Origin,
    /// What it is and in which unit.
    pub help: &'static str,
}

impl std::fmt::Display for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "# {} ({})", self.help, self.origin.as_str())?;
        write!(f, "{}={}", self.key, self.shown)
    }
}

/// Raw settings, by name.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
}

impl Sources {
    /// Nothing but what is given, whatever the environment says: for tests.
    #[must_use]
    pub fn of<K: Into<String>, V: Into<String>>(settings: impl IntoIterator<Item = (K, V)>) -> Self {
        let flags =
            settings.into_iter().map(|(key, value)| (with_prefix(&key.into()), value.into())).collect();
        Self { flags, ..Self::default() }
    }

    /// The process's environment, a file of `NAME=value` lines, and flags of the same form.
    pub fn read(file: Option<&Path>, flags: &[String]) -> Result<Self, ConfigError> {
        let mut sources = Self {
            environment: std::env::vars().filter(|(key, _)| key.starts_with(PREFIX)).collect(),
            ..Self::default()
        };
        let mut problems = Vec::new();
        for flag in flags {
            match flag.split_once('=') {
                Some((key, value)) => {
                    sources.flags.insert(with_prefix(key.trim()), value.trim().to_owned());
                }
                None => problems.push(Problem {
                    key: format!("--set {flag}"),
                    message: "write it as NAME=value".to_owned(),
                }),
            }
        }
        if let Some(path) = file {
            match std::fs::read_to_string(path) {
                Ok(text) => parse_lines(path, &text, &mut sources.file, &mut problems),
                Err(error) => problems.push(Problem {
                    key: path.display().to_string(),
                    message: format!("cannot be read ({error}): name a file of NAME=value lines"),
                }),
            }
        }
        if problems.is_empty() { Ok(sources) } else { Err(ConfigError(problems)) }
    }

    fn find(&self, key: &str) -> Option<(&str, Origin)> {
        [(&self.flags, Origin::Flag), (&self.environment, Origin::Environment), (&self.file, Origin::File)]
            .into_iter()
            .find_map(|(source, origin)| source.get(key).map(|value| (value.trim(), origin)))
            .filter(|(value, _)| !value.is_empty())
    }
}

fn with_prefix(key: &str) -> String {
    if key.starts_with(PREFIX) { key.to_owned() } else { format!("{PREFIX}{}", key.to_uppercase()) }
}

fn parse_lines(path: &Path, text: &str, out: &mut BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((key, value)) => {
                let value = value.trim();
                let bare =
                    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
                out.insert(with_prefix(key.trim()), bare.unwrap_or(value).to_owned());
            }
            None => problems.push(Problem {
                key: format!("{}:{}", path.display(), index + 1),
                message: "write each line as NAME=value, or begin it with #".to_owned(),
            }),
        }
    }
}

/// Takes settings out of the sources, one after the other.
#[derive(Debug)]
pub struct Reader {
    sources: Sources,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

impl Reader {
    #[must_use]
    pub const fn new(sources: Sources) -> Self {
        Self { sources, problems: Vec::new(), effective: Vec::new() }
    }

    /// All settings that were taken, or everything that is wrong: also names in the file that nobody took.
    pub fn finish(mut self) -> Result<Vec<Effective>, ConfigError> {
        let known = |key: &str| {
            let plain = key.strip_suffix("_FILE").unwrap_or(key);
            self.effective.iter().any(|setting| setting.key == key || setting.key == plain)
        };
        let named = self.sources.file.keys().chain(self.sources.flags.keys());
        let unknown: Vec<_> = named.filter(|key| !known(key)).cloned().collect();
        for key in unknown {
            self.problem(key, "no setting has this name: see gatehouse config check");
        }
        if self.problems.is_empty() { Ok(self.effective) } else { Err(ConfigError(self.problems)) }
    }

    /// Everything that is wrong so far.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Notes something wrong.
    pub fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        let key = key.into();
        let key = if key.starts_with(PREFIX) { key } else { format!("{PREFIX}{key}") };
        self.problems.push(Problem { key, message: message.into() });
    }

    /// A value that parses, or the default.
    pub fn value<T>(&mut self, name: &str, default: T, help: &'static str) -> T
    where
        T: FromStr<Err: std::fmt::Display> + std::fmt::Display,
    {
        let key = format!("{PREFIX}{name}");
        let (value, origin) = match self.sources.find(&key) {
            None => (default, Origin::Default),
            Some((text, origin)) => match text.parse() {
                Ok(value) => (value, origin),
                Err(error) => {
                    let message = format!("“{text}” cannot be used: {error}");
                    self.problem(name, message);
                    (default, origin)
                }
            },
        };
        self.effective.push(Effective { key, shown: value.to_string(), origin, help });
        value
    }

    /// A number within bounds. The name ends in its unit.
    pub fn number<T>(&mut self, name: &str, default: T, bounds: &RangeInclusive<T>, help: &'static str) -> T
    where
        T: FromStr<Err: std::fmt::Display> + std::fmt::Display + PartialOrd + Copy,
    {
        let value = self.value(name, default, help);
        if !bounds.contains(&value) {
            let message = format!("{value} is out of bounds: use {} to {}", bounds.start(), bounds.end());
            self.problem(name, message);
        }
        value
    }

    /// Every number of a struct, as a setting each: `PREFIX_FIELD_NAME`, whose defaults are those of the struct.
    /// Field names end in their unit.
    pub fn numbers<T>(&mut self, prefix: &str, defaults: T, help: &'static str) -> T
    where
        T: Serialize + DeserializeOwned,
    {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(&defaults) else { return defaults };
        for (field, value) in &mut fields {
            if let Some(default) = value.as_u64() {
                let name = format!("{prefix}_{}", field.to_uppercase());
                let number = self.value(&name, default, help);
                *value = number.into();
            }
        }
        match serde_json::from_value(Value::Object(fields)) {
            Ok(value) => value,
            Err(error) => {
                self.problem(prefix, format!("one of its numbers is too large: {error}"));
                defaults
            }
        }
    }

    /// A value that may be missing.
    pub fn optional<T>(&mut self, name: &str, help: &'static str) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display> + std::fmt::Display,
    {
        let key = format!("{PREFIX}{name}");
        let Some((text, origin)) = self.sources.find(&key).map(|(text, origin)| (text.to_owned(), origin))
        else {
            self.effective.push(Effective { key, shown: String::new(), origin: Origin::Default, help });
            return None;
        };
        self.effective.push(Effective { key, shown: text.clone(), origin, help });
        text.parse()
            .map_err(|error: T::Err| self.problem(name, format!("“{text}” cannot be used: {error}")))
            .ok()
    }

    /// A secret: from the setting itself, or from the file that `<NAME>_FILE` names. Never shown.
    pub fn secret(&mut self, name: &str, help: &'static str) -> Option<SecretString> {
        let key = format!("{PREFIX}{name}");
        let file_key = format!("{key}_FILE");
        let direct = self.sources.find(&key).map(|(text, origin)| (text.to_owned(), origin));
        let file = self.sources.find(&file_key).map(|(path, _)| path.to_owned());
        let found = match (direct, file) {
            (Some(_), Some(_)) => {
                self.problem(name, format!("is set, and so is {file_key}: keep one of them"));
                None
            }
            (Some((text, origin)), None) => Some((SecretString::from(text), origin)),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((SecretString::from(text.trim()), Origin::SecretFile)),
                Err(error) => {
                    self.problem(format!("{name}_FILE"), format!("{path} cannot be read: {error}"));
                    None
                }
            },
            (None, None) => None,
        };
        let (shown, origin) = match &found {
            Some((_, origin)) => ("<hidden>", *origin),
            None => ("", Origin::Default),
        };
        self.effective.push(Effective { key, shown: shown.to_owned(), origin, help });
        found.map(|(secret, _)| secret)
    }

    /// A secret: the setting itself, or the files that `<NAME>_FILE` names, with commas between. The files are left
    /// to whoever reads them again and again.
    pub fn secret_or_files(&mut self, name: &str, help: &'static str) -> Option<SecretSource> {
        let key = format!("{PREFIX}{name}");
        let file_key = format!("{key}_FILE");
        let direct = self.sources.find(&key).map(|(text, origin)| (text.to_owned(), origin));
        let files = self.sources.find(&file_key).map(|(paths, _)| paths.to_owned());
        let found = match (direct, files) {
            (Some(_), Some(_)) => {
                self.problem(name, format!("is set, and so is {file_key}: keep one of them"));
                None
            }
            (Some((text, origin)), None) => Some((SecretSource::Text(text.into()), origin)),
            (None, Some(paths)) => {
                let paths = paths.split(',').map(str::trim).filter(|path| !path.is_empty());
                Some((SecretSource::Files(paths.map(PathBuf::from).collect()), Origin::SecretFile))
            }
            (None, None) => None,
        };
        let (shown, origin) = match &found {
            Some((_, origin)) => ("<hidden>", *origin),
            None => ("", Origin::Default),
        };
        self.effective.push(Effective { key, shown: shown.to_owned(), origin, help });
        found.map(|(source, _)| source)
    }

    /// Whether any setting's name begins so.
    #[must_use]
    pub fn any_begins_with(&self, prefix: &str) -> bool {
        let prefix = format!("{PREFIX}{prefix}");
        let sources = [&self.sources.flags, &self.sources.environment, &self.sources.file];
        sources
            .into_iter()
            .flat_map(BTreeMap::iter)
            .any(|(key, value)| key.starts_with(&prefix) && !value.trim().is_empty())
    }

    /// Shows a setting that nobody made.
    pub fn unset(&mut self, name: &str, help: &'static str) {
        let key = format!("{PREFIX}{name}");
        self.effective.push(Effective { key, shown: String::new(), origin: Origin::Default, help });
    }

    /// A secret without which the process cannot start.
    pub fn required_secret(&mut self, name: &str, help: &'static str) -> SecretString {
        let before = self.problems.len();
        let secret = self.secret(name, help);
        if secret.is_none() && self.problems.len() == before {
            self.problem(
                name,
                format!("is missing: {help}. Set it, or {PREFIX}{name}_FILE to a file that holds it"),
            );
        }
        secret.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(settings: &[(&str, &str)]) -> Reader {
        Reader::new(Sources::of(settings.iter().copied()))
    }

    #[test]
    fn every_problem_is_named_with_its_key() {
        let mut reader = reader(&[("LEASE_SECONDS", "0"), ("WORKERS", "many"), ("WROKERS", "2")]);
        assert_eq!(reader.number("LEASE_SECONDS", 60, &(10..=600), "how long"), 0);
        assert_eq!(reader.number("WORKERS", 4, &(1..=64), "how many"), 4);
        reader.required_secret("DATABASE_URL", "the database");
        let error = reader.finish().unwrap_err().to_string();
        for part in [
            "GATEHOUSE_LEASE_SECONDS: 0 is out of bounds: use 10 to 600",
            "GATEHOUSE_WORKERS: “many” cannot be used",
            "GATEHOUSE_DATABASE_URL: is missing",
            "GATEHOUSE_WROKERS: no setting has this name",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut reader = reader(&[("DATABASE_URL", "postgres://u:geheim@h/d")]);
        let secret = reader.required_secret("DATABASE_URL", "the database");
        assert_eq!(secrecy::ExposeSecret::expose_secret(&secret), "postgres://u:geheim@h/d");
        let shown = format!("{secret:?} {:?}", reader.finish().unwrap());
        assert!(!shown.contains("geheim"), "{shown}");
    }

    #[test]
    fn a_file_gives_way_to_the_environment_and_the_environment_to_flags() {
        let map = |value: &str| BTreeMap::from([("GATEHOUSE_X".to_owned(), value.to_owned())]);
        let mut sources = Sources { file: map("file"), ..Sources::default() };
        assert_eq!(sources.find("GATEHOUSE_X"), Some(("file", Origin::File)));
        sources.environment = map("environment");
        assert_eq!(sources.find("GATEHOUSE_X"), Some(("environment", Origin::Environment)));
        sources.flags = map("flag");
        assert_eq!(sources.find("GATEHOUSE_X"), Some(("flag", Origin::Flag)));
    }

    #[test]
    fn lines_may_be_quoted_and_commented() {
        let (mut out, mut problems) = (BTreeMap::new(), Vec::new());
        parse_lines(Path::new("f"), "# a\n\nGATEHOUSE_A='x y'\nb=\"z\"\nnonsense\n", &mut out, &mut problems);
        assert_eq!(out["GATEHOUSE_A"], "x y");
        assert_eq!(out["GATEHOUSE_B"], "z");
        assert_eq!(problems[0].key, "f:5");
    }
}
